/* The rational-quadratic spline with linear tails on float32: values, gradients and inverses.

   One pass over memory each, nothing kept for the gradients but what came in. Elements are taken in
   blocks that stay in the first cache and are computed in double; the loops over a block are such
   as compilers turn into vector instructions. Names and formulas are those of spline.py and
   spline_planes.py. */

#include <stdint.h>
#include <stdlib.h>

#include "../native.h"

enum { BLOCK = 32 };
enum { FEW = 1 << 15 }; /* of fewer parameters a second thread costs more than it saves */

typedef double block[BLOCK];

typedef struct {
    int64_t bins;
    double bound, share, derivative, offset; /* the least share, the least derivative */
} settings;

/* The bins of a block: where they begin, their sizes, slopes and which they are; the derivatives
   at their ends, and the slopes of these in their parameters. */
typedef struct {
    block x, z, w, h, s, index, d0, d1, slope0, slope1;
} bin;

/* log x for normal x > 0 to 2 roundings. x = 2^n m, m from 1/sqrt 2 on; log m = 2 artanh f. */
static inline double logarithm(double x) {
    uint64_t bits = to_bits(x), above = bits - 0x3fe6a09e667f3bcdull;
    uint64_t shifted = ((above >> 52) ^ 0x800) | 0x4330000000000000ull;
    double n = from_bits(shifted) - (0x1p52 + 0x800);
    double m = from_bits(bits - (above & 0xfff0000000000000ull));
    double f = (m - 1.0) / (m + 1.0), g = f * f;
    double sum = 1.0 / 21;
    sum = sum * g + 1.0 / 19;
    sum = sum * g + 1.0 / 17;
    sum = sum * g + 1.0 / 15;
    sum = sum * g + 1.0 / 13;
    sum = sum * g + 1.0 / 11;
    sum = sum * g + 1.0 / 9;
    sum = sum * g + 1.0 / 7;
    sum = sum * g + 1.0 / 5;
    sum = sum * g + 1.0 / 3;
    double out = n * 0x1.62e42fefa39efp-1 + 2.0 * (f + f * g * sum);
    return x == x ? out : x;
}

/* Loops over a block; OpenMP's word tells the compiler that elements don't touch each other. */
#define EACH _Pragma("omp simd") for (int j = 0; j < BLOCK; j++)

/* Where the elements of a block lie, from the `first` on; 1 if one after another. */
static int place(const planes *of, int64_t first, int count, int64_t *restrict offsets) {
    int64_t row = first / of->columns, column = first % of->columns;
    for (int j = 0; j < count; j++) {
        offsets[j] = row * of->row + column * of->column;
        if (++column == of->columns) {
            column = 0;
            row++;
        }
    }
    return of->column == 1 && offsets[count - 1] - offsets[0] == count - 1;
}

static void load(const planes *from, int64_t first, int count, int64_t many, block *restrict out) {
    int64_t offsets[BLOCK];
    int dense = place(from, first, count, offsets);
    for (int64_t p = 0; p < many; p++) {
        const float *plane = from->at + p * from->own;
        if (dense)
            for (int j = 0; j < count; j++) out[p][j] = plane[offsets[0] + j];
        else
            for (int j = 0; j < count; j++) out[p][j] = plane[offsets[j]];
        for (int j = count; j < BLOCK; j++) out[p][j] = 0.0;
    }
}

static void store(const planes *to, int64_t first, int count, int64_t many, block *restrict in) {
    int64_t offsets[BLOCK];
    int dense = place(to, first, count, offsets);
    for (int64_t p = 0; p < many; p++) {
        float *plane = to->at + p * to->own;
        if (dense)
            for (int j = 0; j < count; j++) plane[offsets[0] + j] = (float)in[p][j];
        else
            for (int j = 0; j < count; j++) plane[offsets[j]] = (float)in[p][j];
    }
}

/* What lies within the bound, and the nearer end for what doesn't, or isn't a number. */
static void within(const settings *s, const double *restrict x, double *restrict out) {
    EACH {
        double low = x[j] > -s->bound ? x[j] : -s->bound;
        out[j] = low < s->bound ? low : s->bound;
    }
}

/* The softmaxes of widths and of heights, in their place. */
static void softmaxes(int64_t bins, block *restrict params) {
    for (int half = 0; half < 2; half++, params += bins) {
        block most, total;
        EACH { most[j] = params[0][j]; total[j] = 0.0; }
        for (int64_t k = 1; k < bins; k++)
            EACH { most[j] = params[k][j] > most[j] ? params[k][j] : most[j]; }
        for (int64_t k = 0; k < bins; k++)
            EACH {
                params[k][j] = exponential(params[k][j] - most[j]);
                total[j] += params[k][j];
            }
        EACH { total[j] = 1.0 / total[j]; }
        for (int64_t k = 0; k < bins; k++)
            EACH { params[k][j] *= total[j]; }
    }
}

/* A derivative at a knot, and its slope in its parameter: a softplus and a sigmoid. */
static void derivatives(const settings *s, const double *restrict raw, double *restrict value,
                        double *restrict slope) {
    EACH {
        double x = raw[j] + s->offset;
        double small = exponential(x < 0.0 ? x : -x);
        double part = 1.0 / (1.0 + small);
        value[j] = s->derivative + (x > 0.0 ? x : 0.0) + logarithm(1.0 + small);
        slope[j] = x >= 0.0 ? part : small * part;
    }
}

/* The bin of each number, which lies within the bound: among the knots of x, or those of z. */
static void find(const settings *s, block *restrict params, const double *restrict at,
                 int among_z, bin *restrict found) {
    const double shared = 1.0 - s->share * (double)s->bins, length = 2.0 * s->bound;
    block x, z, raw0, raw1, none = {0};
    EACH { x[j] = z[j] = -s->bound; }
    for (int64_t k = 0; k < s->bins; k++) {
        const double *widths = params[k], *heights = params[s->bins + k];
        const double *before = k > 0 ? params[2 * s->bins + k - 1] : none;
        const double *after = k + 1 < s->bins ? params[2 * s->bins + k] : none;
        EACH {
            double w = s->share + shared * widths[j], h = s->share + shared * heights[j];
            int here = (at[j] >= (among_z ? z[j] : x[j])) | (k == 0);
            found->x[j] = here ? x[j] : found->x[j];
            found->z[j] = here ? z[j] : found->z[j];
            found->w[j] = here ? w : found->w[j];
            found->h[j] = here ? h : found->h[j];
            found->index[j] = here ? (double)k : found->index[j];
            raw0[j] = here ? before[j] : raw0[j];
            raw1[j] = here ? after[j] : raw1[j];
            x[j] += length * w;
            z[j] += length * h;
        }
    }
    EACH {
        found->s[j] = found->h[j] / found->w[j];
        found->w[j] *= length;
        found->h[j] *= length;
    }
    derivatives(s, raw0, found->d0, found->slope0);
    derivatives(s, raw1, found->d1, found->slope1);
}

/* log dz/dx: log A + 2 log (s / D). */
static inline double log_slope(double a, double s, double d) {
    double part = s / d;
    return logarithm(a * part * part);
}

static inline double share_of(double x, double start, double size) {
    double theta = (x - start) / size;
    return theta < 1.0 ? theta : 1.0 + 0.0 * theta;
}

static void forward(const settings *s, const planes *xs, const planes *from, const planes *zs,
                    const planes *logs, int64_t first, int count, block *params) {
    block x, at, z, ladj;
    bin b;
    load(xs, first, count, 1, &x);
    load(from, first, count, 3 * s->bins - 1, params);
    within(s, x, at);
    softmaxes(s->bins, params);
    find(s, params, at, 0, &b);
    EACH {
        double theta = share_of(at[j], b.x[j], b.w[j]), rho = 1.0 - theta;
        double both = theta * rho, squares = theta * theta + rho * rho;
        double n = b.s[j] * theta * theta + b.d0[j] * both;
        double d = b.s[j] * squares + (b.d0[j] + b.d1[j]) * both;
        double a = b.d1[j] * theta * theta + 2.0 * b.s[j] * both + b.d0[j] * rho * rho;
        double inner = b.z[j] + b.h[j] * (n / d);
        inner = inner < s->bound ? inner : s->bound + 0.0 * inner;
        int inside = (x[j] >= -s->bound) & (x[j] <= s->bound);
        z[j] = inside ? inner : x[j];
        ladj[j] = inside ? log_slope(a, b.s[j], d) : 0.0;
    }
    store(zs, first, count, 1, &z);
    store(logs, first, count, 1, &ladj);
}

static void inverse(const settings *s, const planes *zs, const planes *from, const planes *xs,
                    const planes *logs, int64_t first, int count, block *params) {
    block z, at, x, ladj;
    bin b;
    load(zs, first, count, 1, &z);
    load(from, first, count, 3 * s->bins - 1, params);
    within(s, z, at);
    softmaxes(s->bins, params);
    find(s, params, at, 1, &b);
    EACH {
        double y = share_of(at[j], b.z[j], b.h[j]), rest = 1.0 - y;
        double g = b.d0[j] * rest - b.d1[j] * y;
        double low = 2.0 * b.s[j] * y, high = 2.0 * b.s[j] * rest;
        double r = __builtin_sqrt(g * g + low * high) + __builtin_fabs(g);
        double total = r + (g >= 0.0 ? low : high);
        double theta = (g >= 0.0 ? low : r) / total, rho = (g >= 0.0 ? r : high) / total;
        double both = theta * rho;
        double d = b.s[j] * (theta * theta + rho * rho) + (b.d0[j] + b.d1[j]) * both;
        double a = b.d1[j] * theta * theta + 2.0 * b.s[j] * both + b.d0[j] * rho * rho;
        double inner = b.x[j] + b.w[j] * theta;
        inner = inner < s->bound ? inner : s->bound + 0.0 * inner;
        int inside = (z[j] >= -s->bound) & (z[j] <= s->bound);
        x[j] = inside ? inner : z[j];
        ladj[j] = inside ? -log_slope(a, b.s[j], d) : 0.0;
    }
    store(xs, first, count, 1, &x);
    store(logs, first, count, 1, &ladj);
}

/* Backward through shares and softmax: p_j (G_j - sum p G), G_j one of two, or 0. */
static void into_shares(int64_t bins, block *restrict parts, const double *restrict index,
                        const double *restrict before, const double *restrict here) {
    block mean = {0};
    for (int64_t k = 0; k < bins; k++)
        EACH {
            double g = k < index[j] ? before[j] : k == index[j] ? here[j] : 0.0;
            mean[j] += g * parts[k][j];
        }
    for (int64_t k = 0; k < bins; k++)
        EACH {
            double g = k < index[j] ? before[j] : k == index[j] ? here[j] : 0.0;
            parts[k][j] *= g - mean[j];
        }
}

static void backward(const settings *s, const planes *xs, const planes *from, const planes *of_z,
                     const planes *of_log, const planes *of_x, const planes *to, int64_t first,
                     int count, block *params) {
    const int64_t bins = s->bins;
    const double share = 2.0 * s->bound * (1.0 - s->share * (double)bins);
    block x, at, g_z, g_log, g_x, g_0, g_1, before_w, here_w, before_h, here_h;
    bin b;
    load(xs, first, count, 1, &x);
    load(of_z, first, count, 1, &g_z);
    load(of_log, first, count, 1, &g_log);
    load(from, first, count, 3 * bins - 1, params);
    within(s, x, at);
    softmaxes(bins, params);
    find(s, params, at, 0, &b);
    EACH {
        int inside = (x[j] >= -s->bound) & (x[j] <= s->bound);
        double of_value = inside ? g_z[j] : 0.0, of_slope = inside ? g_log[j] : 0.0;
        double slope = b.s[j], d0 = b.d0[j], d1 = b.d1[j];
        double theta = share_of(at[j], b.x[j], b.w[j]), rho = 1.0 - theta;
        double both = theta * rho, squares = theta * theta + rho * rho;
        double n = slope * theta * theta + d0 * both, d = slope * squares + (d0 + d1) * both;
        double a = d1 * theta * theta + 2.0 * slope * both + d0 * rho * rho;
        double ratio = n / d, log_a = of_slope / a, log_d = 2.0 * of_slope / d;
        double z_d = of_value * b.h[j] / d;
        double a_slope = 2.0 * (d1 * theta - d0 * rho + slope * (rho - theta));
        double d_slope = (rho - theta) * (d0 + d1 - 2.0 * slope);
        double part = slope / d, exact = a * part * part;
        double g_theta = of_value * b.w[j] * exact + log_a * a_slope - log_d * d_slope;
        double g_s = z_d * (theta * theta - ratio * squares)
            + 2.0 * (log_a * both + of_slope / slope) - log_d * squares;
        g_0[j] = b.slope0[j] * (z_d * both * (1.0 - ratio) + log_a * rho * rho - log_d * both);
        g_1[j] = b.slope1[j] * (log_a * theta * theta - z_d * both * ratio - log_d * both);
        double inner = g_theta / b.w[j], of_s = g_s / b.w[j];
        before_w[j] = -share * inner;
        here_w[j] = -share * (inner * theta + of_s * slope);
        before_h[j] = share * of_value;
        here_h[j] = share * (of_value * ratio + of_s);
        g_x[j] = inside ? inner : g_z[j];
    }
    store(of_x, first, count, 1, &g_x);
    if (to->at == NULL) return;
    into_shares(bins, params, b.index, before_w, here_w);
    into_shares(bins, params + bins, b.index, before_h, here_h);
    for (int64_t k = 0; k + 1 < bins; k++)
        EACH {
            double right = k == b.index[j] ? g_1[j] : 0.0;
            params[2 * bins + k][j] = k + 1 == b.index[j] ? g_0[j] : right;
        }
    store(to, first, count, 3 * bins - 1, params);
}

/* Takes `step` block by block; 0 if there is no memory for a block's parameters. */
#define IN_BLOCKS(step)                                                                            \
    int64_t many = (3 * s->bins - 1) * elements, blocks = (elements + BLOCK - 1) / BLOCK;          \
    int failed = 0;                                                                                \
    _Pragma("omp parallel num_threads(threads) if (many > FEW)") {                                 \
        block *params = malloc((size_t)(3 * s->bins - 1) * sizeof(block) + 1);                     \
        if (params == NULL) {                                                                      \
            _Pragma("omp atomic write") failed = 1;                                                \
        }                                                                                          \
        _Pragma("omp for") for (int64_t i = 0; i < blocks; i++) {                                  \
            int64_t first = i * BLOCK;                                                             \
            int count = elements - first < BLOCK ? (int)(elements - first) : BLOCK;                \
            if (params != NULL) step;                                                              \
        }                                                                                          \
        free(params);                                                                              \
    }                                                                                              \
    return !failed

int spline_forward(const settings *s, int64_t elements, int threads, const planes *x,
                   const planes *from, const planes *z, const planes *ladj) {
    IN_BLOCKS(forward(s, x, from, z, ladj, first, count, params));
}

int spline_inverse(const settings *s, int64_t elements, int threads, const planes *z,
                   const planes *from, const planes *x, const planes *ladj) {
    IN_BLOCKS(inverse(s, z, from, x, ladj, first, count, params));
}

/* to->at may be NULL: then only the derivatives in x are wanted. */
int spline_backward(const settings *s, int64_t elements, int threads, const planes *x,
                    const planes *from, const planes *of_z, const planes *of_log,
                    const planes *of_x, const planes *to) {
    IN_BLOCKS(backward(s, x, from, of_z, of_log, of_x, to, first, count, params));
}
