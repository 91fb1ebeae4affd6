/* The steps of a WaveNet on float32. What they are is said in wavenet.py, WaveNetStepper.

   Rows of the batch don't depend on each other: threads share them out, GROUP at a time, and each
   group makes all the steps that are asked for. Weights lie input by input, the units that an input
   goes to one after another, so that a step reads them once, in order. All numbers of units are
   padded to whole vectors; what pads is zero. */

#include <stdlib.h>

#include "../native.h"

#if defined(__AVX512F__)
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
enum { GROUP = 4 }; /* rows whose sums stay in registers together */

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* A dilated layer. The queue of a row holds its last `length` inputs; that of time t is at t modulo
   length. The first `on` units of the mix go on, the others are skipped out. */
typedef struct {
    const float *gate, *gate_bias, *mix, *mix_bias;
    float *queue;
    int64_t dilation, length, on, mixed;
} layer;

/* Numbers of units are padded ones, but for residual and gate, which say how many are in use. Codes
   have a row of the entry each; otherwise it has one. A NULL for hidden: there is one exit layer.
   `linear` times the last `reach` samples of each row, which `recent` holds, oldest first, is added
   to the parameters. */
typedef struct {
    const layer *layers;
    int64_t count, taps, residual, gate, wide, gated, skip, inside, params;
    const float *entry, *entry_bias, *hidden, *hidden_bias, *last, *last_bias;
    int64_t reach;
    const float *linear;
    float *recent;
} network;

/* What the condition adds to the gates: from one time, row and layer to the next; NULL for none. */
typedef struct {
    const float *at;
    int64_t time, row, layer;
} condition;

/* out += W in: `vectors` of units, of `rows` rows. */
static inline __attribute__((always_inline)) void few_products(
    const int rows, const int vectors, int64_t inputs, const float *weight, int64_t units,
    const float *const *in, float *const *out, int64_t at) {
    lanes sums[GROUP][8];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sums[r][v] = ((lanes *)(out[r] + at))[v];
    for (int64_t k = 0; k < inputs; k++) {
        const lanes *from = (const lanes *)(weight + k * units + at);
        for (int v = 0; v < vectors; v++)
            for (int r = 0; r < rows; r++) sums[r][v] += from[v] * in[r][k];
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) ((lanes *)(out[r] + at))[v] = sums[r][v];
}

/* out += W in, of a group of rows. */
static void products(int rows, int64_t inputs, const float *weight, int64_t units,
                     const float *const *in, float *const *out) {
    int64_t at = 0;
#define WHILE(rows, vectors)                                                                       \
    for (; at + (vectors) * LANES <= units; at += (vectors) * LANES)                               \
        few_products(rows, vectors, inputs, weight, units, in, out, at);
#define CASE(rows, most)                                                                           \
    case rows:                                                                                     \
        WHILE(rows, most) WHILE(rows, 2) WHILE(rows, 1) break;
    switch (rows) {
    case 1:
        WHILE(1, 8) WHILE(1, 4) WHILE(1, 2) WHILE(1, 1) break;
        CASE(2, 4) CASE(3, 4) CASE(4, 4)
    }
}

static void rectify(float *x, int64_t units) {
#pragma omp simd
    for (int64_t j = 0; j < units; j++) x[j] = x[j] < 0.0f ? 0.0f : x[j];
}

/* z = tanh(a) sigmoid(b), of `gated` units, which may lie where a does. */
static void gate(float *z, const float *a, const float *b, int64_t gated) {
#pragma omp simd
    for (int64_t j = 0; j < gated; j++) {
        double x = a[j], y = b[j];
        double e = exponential(x < 0.0 ? 2.0 * x : -2.0 * x), f = exponential(y < 0.0 ? y : -y);
        double size = (1.0 - e) * (y < 0.0 ? f : 1.0) / ((1.0 + e) * (1.0 + f));
        z[j] = (float)(x < 0.0 ? -size : size);
    }
}

/* Memory of a group: h, the gates, the mix, s and the parameters of every row. */
typedef struct {
    float *all, *h[GROUP], *gates[GROUP], *mix[GROUP], *s[GROUP], *inner[GROUP], *params[GROUP];
} workspace;

static int allocate(const network *net, workspace *w) {
    int64_t mixed = 0, own;
    for (const layer *l = net->layers; l < net->layers + net->count; l++)
        if (l->mixed > mixed) mixed = l->mixed;
    own = net->wide + 2 * net->gated + mixed + 2 * net->inside + net->params;
    float *at = w->all = malloc((size_t)(GROUP * own) * sizeof(float));
    for (int r = 0; at && r < GROUP; r++, at += own) {
        w->h[r] = at;
        w->gates[r] = w->h[r] + net->wide;
        w->mix[r] = w->gates[r] + 2 * net->gated;
        w->s[r] = w->mix[r] + mixed;
        w->inner[r] = w->s[r] + net->inside;
        w->params[r] = w->inner[r] + net->inside;
    }
    return w->all != NULL;
}

static void fill(int rows, float *const *out, const float *with, int64_t units) {
    for (int r = 0; r < rows; r++) memcpy(out[r], with, (size_t)units * sizeof(float));
}

/* A step of the rows from `first` on: from what was before (samples, or codes; neither at first) to
   parameters in w. */
static void step(const network *net, workspace *w, int64_t first, int rows, int64_t time,
                 const float *values, const int64_t *codes, const condition *c, int64_t column) {
    const int64_t reach = net->reach;
    const float *recent[GROUP];
    fill(rows, w->h, net->entry_bias, net->wide);
    for (int r = 0; r < rows && (values || codes); r++) {
        const float *entry = codes ? net->entry + codes[r] * net->wide : net->entry;
        float x = codes ? 1.0f : values[r] < -1e6f ? -1e6f : values[r] > 1e6f ? 1e6f : values[r];
        for (int64_t j = 0; j < net->wide; j++) w->h[r][j] += x * entry[j];
        if (reach) {
            float *own = net->recent + (first + r) * reach;
            memmove(own, own + 1, (size_t)(reach - 1) * sizeof(float));
            own[reach - 1] = x;
        }
    }
    if (net->skip)
        for (int r = 0; r < rows; r++) memset(w->s[r], 0, (size_t)net->skip * sizeof(float));
    for (int64_t i = 0; i < net->count; i++) {
        const layer *l = net->layers + i;
        const int64_t units = 2 * net->gated;
        const float *in[GROUP];
        fill(rows, w->gates, l->gate_bias, units);
        if (c->at)
            for (int r = 0; r < rows; r++) {
                const float *add = c->at + column * c->time + (first + r) * c->row + i * c->layer;
                for (int64_t j = 0; j < units; j++) w->gates[r][j] += add[j];
            }
        for (int64_t tap = 0; tap + 1 < net->taps; tap++) {
            int64_t at = (time + tap * l->dilation) % l->length;
            for (int r = 0; r < rows; r++)
                in[r] = l->queue + ((first + r) * l->length + at) * net->wide;
            products(rows, net->residual, l->gate + tap * net->residual * units, units, in,
                     w->gates);
        }
        products(rows, net->residual, l->gate + (net->taps - 1) * net->residual * units, units,
                 (const float *const *)w->h, w->gates);
        for (int r = 0; r < rows; r++) {
            if (l->length)
                memcpy(l->queue + ((first + r) * l->length + time % l->length) * net->wide,
                       w->h[r], (size_t)net->wide * sizeof(float));
            gate(w->gates[r], w->gates[r], w->gates[r] + net->gated, net->gated);
        }
        fill(rows, w->mix, l->mix_bias, l->mixed);
        products(rows, net->gate, l->mix, l->mixed, (const float *const *)w->gates, w->mix);
        for (int r = 0; r < rows; r++) {
            for (int64_t j = 0; j < l->on; j++) w->h[r][j] += w->mix[r][j];
            for (int64_t j = l->on; j < l->mixed; j++) w->s[r][j - l->on] += w->mix[r][j];
        }
    }
    if (!net->skip)
        for (int r = 0; r < rows; r++)
            memcpy(w->s[r], w->h[r], (size_t)net->inside * sizeof(float));
    float *const *out = w->s;
    if (net->hidden) {
        fill(rows, w->inner, net->hidden_bias, net->inside);
        for (int r = 0; r < rows; r++) rectify(w->s[r], net->inside);
        products(rows, net->inside, net->hidden, net->inside, (const float *const *)w->s,
                 w->inner);
        for (int r = 0; r < rows; r++) rectify(w->inner[r], net->inside);
        out = w->inner;
    }
    fill(rows, w->params, net->last_bias, net->params);
    products(rows, net->inside, net->last, net->params, (const float *const *)out, w->params);
    if (!reach) return;
    for (int r = 0; r < rows; r++) recent[r] = net->recent + (first + r) * reach;
    products(rows, reach, net->linear, net->params, recent, w->params);
}

#define GROUPS(...)                                                                                \
    int failed = 0;                                                                                \
    const int64_t groups = (rows + GROUP - 1) / GROUP;                                             \
    _Pragma("omp parallel for schedule(dynamic) num_threads(threads) if (groups > 1)")             \
    for (int64_t group = 0; group < groups; group++) {                                             \
        const int64_t first = group * GROUP;                                                       \
        const int taken = rows - first < GROUP ? (int)(rows - first) : GROUP;                      \
        workspace w;                                                                               \
        int whole = allocate(net, &w);                                                             \
        if (whole) __VA_ARGS__                                                                     \
        free(w.all);                                                                               \
        if (!whole) {                                                                              \
            _Pragma("omp atomic write") failed = 1;                                                \
        }                                                                                          \
    }                                                                                              \
    return !failed;

/* One step of all rows; parameters (rows, net->params). 0 if there is no memory. */
int wavenet_step(const network *net, int64_t rows, int threads, int64_t time, const float *values,
                 const int64_t *codes, const condition *c, float *params) {
    GROUPS({
        step(net, &w, first, taken, time, values ? values + first : NULL,
             codes ? codes + first : NULL, c, 0);
        for (int r = 0; r < taken; r++)
            memcpy(params + (first + r) * net->params, w.params[r],
                   (size_t)net->params * sizeof(float));
    })
}

/* A head of sound_heads.py: how parameters and noise become a sample. */
enum { LOGISTICS, GAUSSIAN, CODES };

typedef struct {
    int64_t kind, many; /* components, or codes */
    double unit, middle, bound, farthest, width, temperature;
    const float *table; /* offsets of the means, or the codes' samples */
} head;

static double scale_of(const head *is, double raw) {
    double s = raw / (1.0 + (raw < 0.0 ? -raw : raw) / is->bound) + is->middle;
    double small = exponential(s < 0.0 ? s : -s);
    return s < 0.0 ? small : 1.0 / small;
}

static double within(double x, double least, double most) {
    return x < least ? least : x > most ? most : x;
}

/* The place of u among the cumulative weights of logits, which are divided by the temperature; −1
   where the weights are no numbers. */
static int64_t choose(const float *logits, int64_t many, double temperature, double u) {
    double total = 0.0, sum = 0.0;
    float most = logits[0];
    int64_t best = 0, k;
    for (k = 0; k < many; k++) {
        if (logits[k] != logits[k]) return -1;
        if (logits[k] > most) most = logits[best = k];
    }
    if (temperature == 0.0) return best;
    if (most - most != 0.0f) return -1; /* infinite */
#pragma omp simd reduction(+ : total)
    for (k = 0; k < many; k++) total += exponential(((double)logits[k] - most) / temperature);
    for (k = 0; k < many - 1; k++) {
        sum += exponential(((double)logits[k] - most) / temperature);
        if (u * total < sum) break;
    }
    return k;
}

static float draw(const head *is, const float *params, const float *noise, int64_t *code) {
    double mean, scale, apart;
    if (is->kind == CODES) {
        int64_t k = choose(params, is->many, is->temperature, noise[0]);
        *code = k < 0 ? 0 : k;
        return k < 0 ? __builtin_nanf("") : is->table[k];
    }
    if (is->kind == GAUSSIAN) {
        mean = within(is->unit * params[0], -is->farthest, is->farthest);
        scale = scale_of(is, params[1]);
        apart = noise[0];
    } else {
        int64_t k = choose(params, is->many, 1.0, noise[0]);
        if (k < 0) return __builtin_nanf("");
        mean = is->unit * ((double)params[is->many + k] + is->table[k]);
        mean = within(mean, -is->farthest, is->farthest);
        scale = scale_of(is, params[2 * is->many + k]);
        apart = noise[1];
    }
    double x = mean + is->temperature * scale * apart;
    return (float)within(__builtin_rint(x / is->width) * is->width, -1.0, 1.0 - is->width);
}

/* Steps `time` … time + steps − 1, each with a draw: noise is (steps, rows, numbers), x becomes
   (steps, rows). `values` and `codes` (which a network of codes takes, and others ignore) are those
   of the step before, and become those of the last one. 0 if there is no memory. */
int wavenet_draw(const network *net, const head *is, int64_t rows, int threads, int64_t time,
                 int64_t steps, const float *noise, int64_t numbers, const condition *c,
                 float *values, int64_t *codes, float *x) {
    GROUPS({
        for (int64_t t = 0; t < steps; t++) {
            const int begun = time + t > 0;
            step(net, &w, first, taken, time + t, begun && !codes ? values + first : NULL,
                 begun && codes ? codes + first : NULL, c, t);
            for (int r = 0; r < taken; r++) {
                int64_t row = first + r, code = 0;
                x[t * rows + row] = values[row] =
                    draw(is, w.params[r], noise + (t * rows + row) * numbers, &code);
                if (codes) codes[row] = code;
            }
        }
    })
}

/* What inverts a scalar map, as made.c has it. */
typedef int inverse(const void *settings, int64_t elements, int threads, const planes *z,
                    const planes *from, const planes *x, const planes *ladj);

typedef struct {
    inverse *invert;
    const void *settings;
    int64_t params;
} scalar_map;

/* All steps, from the first: x is z, (steps, rows), and becomes x; log dx/dz is added to ladj. What
   inverts a sample is a chain of maps, undone from the last. 0 if there is no memory. */
int wavenet_invert(const network *net, const scalar_map *maps, int64_t chained, int64_t rows,
                   int threads, int64_t time, int64_t steps, const condition *c, float *values,
                   float *x, float *ladj) {
    int64_t many = 0;
    for (int64_t m = 0; m < chained; m++) many += maps[m].params;
    GROUPS({
        float *turned = malloc((size_t)((many + 1) * GROUP) * sizeof(float));
        whole = turned != NULL;
        for (int64_t t = 0; whole && t < steps; t++) {
            step(net, &w, first, taken, time + t, time + t > 0 ? values + first : NULL, NULL, c, t);
            float *own = x + t * rows + first, *log = turned + many * GROUP;
            for (int r = 0; r < taken; r++)
                for (int64_t p = 0; p < many; p++) turned[p * GROUP + r] = w.params[r][p];
            planes at = {own, taken, taken, 1, 0}, logs = {log, taken, taken, 1, 0};
            planes from = {log, taken, 0, 1, GROUP};
            for (const scalar_map *m = maps + chained - 1; whole && m >= maps; m--) {
                from.at -= m->params * GROUP;
                whole = m->invert(m->settings, taken, 1, &at, &from, &at, &logs);
                for (int r = 0; whole && r < taken; r++) ladj[t * rows + first + r] += log[r];
            }
            memcpy(values + first, own, (size_t)taken * sizeof(float));
        }
        free(turned);
    })
}
