/* The steps of a MADE on float32. What they are is said in made.py, MADEStepper.

   Rows of the batch are taken in tiles of WIDTH: a buffer holds, tile by tile and unit by unit,
   WIDTH numbers. Tiles don't depend on each other, so threads share them out; a step reads what
   earlier steps left in the tile's buffers, and the weights of its own units. */

#include <stdlib.h>

#include "../native.h"

enum { WIDTH = 32 };

/* Numbers in a vector, and units that are computed together, whose sums stay in registers. */
#if defined(__AVX512F__)
enum { LANES = 16, HEIGHT = 8 };
#else
enum { LANES = 8, HEIGHT = 2 };
#endif
enum { VECTORS = WIDTH / LANES };
enum { MOST = 4 }; /* tiles that take a step together: it finds its weights in a near cache */
enum { FEW = 1 << 16 }; /* of fewer multiplications a second thread costs more than it saves */

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { NONE, RELU, ELU, TANH, SILU, GELU };

/* A masked layer: output = (W input + bias + context) gate + skip, active = activation(output).

   At step i there are new units, from edges[i] to edges[i + 1], which see the first seen[i + 1] of
   the inputs. Context, gate, skip and active are NULL where there is none of it. */
typedef struct {
    const float *weight, *bias, *context, *gate, *skip;
    float *input, *output, *active;
    const int64_t *edges, *seen;
    int64_t inputs, units, row, activation; /* row: from one unit's weights to the next's */
} layer;

/* Some units of a tile. The sums of each number are taken in the order of the inputs. */
static inline __attribute__((always_inline)) void few_products(
    const int height, int64_t inputs, const float *weight, int64_t row, const float *bias,
    const float *restrict in, float *restrict out, int64_t apart) {
    lanes sums[HEIGHT][VECTORS];
    for (int u = 0; u < height; u++)
        for (int v = 0; v < VECTORS; v++) sums[u][v] = (lanes){0} + bias[u];
    for (int64_t k = 0; k < inputs; k++) {
        const lanes *known = (const lanes *)(in + k * WIDTH);
        for (int u = 0; u < height; u++)
            for (int v = 0; v < VECTORS; v++) sums[u][v] += weight[u * row + k] * known[v];
    }
    for (int u = 0; u < height; u++)
        for (int v = 0; v < VECTORS; v++) ((lanes *)(out + u * apart))[v] = sums[u][v];
}

/* W input + bias of a tile, `count` units from the `first` on, which lie `apart` in `out`. */
static void products(const layer *l, int64_t tile, int64_t first, int64_t count, int64_t inputs,
                     float *out, int64_t apart) {
    const float *in = l->input + tile * l->inputs * WIDTH;
    for (int64_t u = 0; u < count; u += HEIGHT, out += HEIGHT * apart) {
        const float *weight = l->weight + (first + u) * l->row, *bias = l->bias + first + u;
        switch (count - u < HEIGHT ? count - u : HEIGHT) {
#define CASE(n) case n: few_products(n, inputs, weight, l->row, bias, in, out, apart); break;
            CASE(1) CASE(2)
#if defined(__AVX512F__)
            CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#endif
        }
    }
}

/* Loops over a tile's rows; OpenMP's word tells the compiler that they don't touch each other. */
#define EACH _Pragma("omp simd") for (int j = 0; j < WIDTH; j++)

static void activate(int64_t which, const float *in, float *out) {
    switch (which) {
    case NONE:
        EACH { out[j] = in[j]; }
        break;
    case RELU:
        EACH { out[j] = in[j] < 0.0f ? 0.0f : in[j]; }
        break;
    case ELU:
        EACH {
            double x = in[j], e = exponential(x < 0.0 ? x : -x);
            out[j] = (float)(x > 0.0 ? x : e - 1.0);
        }
        break;
    case TANH:
        EACH {
            double x = in[j], e = exponential(x < 0.0 ? 2.0 * x : -2.0 * x);
            double size = (1.0 - e) / (1.0 + e);
            out[j] = (float)(x < 0.0 ? -size : size);
        }
        break;
    case SILU:
        EACH {
            double x = in[j], e = exponential(x < 0.0 ? x : -x);
            double least = x < -690.0 ? 0.0 : e; /* of -infinity that is not a number */
            out[j] = (float)(x * (x < 0.0 ? least : 1.0) / (1.0 + e));
        }
        break;
    case GELU:
        for (int j = 0; j < WIDTH; j++)
            out[j] = (float)(0.5 * in[j] * (1.0 + __builtin_erf(in[j] * 0x1.6a09e667f3bcdp-1)));
        break;
    }
}

/* The new units of a hidden layer in a tile. */
static void hidden(const layer *l, int64_t step, int64_t tile) {
    int64_t first = l->edges[step], count = l->edges[step + 1] - first;
    int64_t start = (tile * l->units + first) * WIDTH;
    products(l, tile, first, count, l->seen[step + 1], l->output + start, WIDTH);
    for (int64_t at = start; at < start + count * WIDTH; at += WIDTH) {
        float *out = l->output + at;
        if (l->context) EACH { out[j] += l->context[at + j]; }
        if (l->gate) EACH { out[j] *= l->gate[at + j]; }
        if (l->skip) EACH { out[j] += l->skip[at + j]; }
        if (l->active) activate(l->activation, out, l->active + at);
    }
}

/* One step: the values of the variable before are noted (rows; the first layer's inputs are the
   variables), all hidden layers get their new units, and the last layer gives the parameters of
   the step's variable, (many, tiles, WIDTH), from its unit edges[step] on. */
void made_step(const layer *layers, int64_t count, int64_t step, int64_t rows, int threads,
               const float *values, int64_t many, float *params) {
    const layer *last = layers + count - 1;
    int64_t tiles = (rows + WIDTH - 1) / WIDTH, work = many * last->seen[step + 1] * rows;
    for (const layer *l = layers; l < last; l++)
        work += (l->edges[step + 1] - l->edges[step]) * l->seen[step + 1] * rows;
#pragma omp parallel for schedule(static) num_threads(threads) if (work > FEW)
    for (int64_t tile = 0; tile < tiles; tile++) {
        if (step > 0) {
            float *value = layers->input + (tile * layers->inputs + step - 1) * WIDTH;
            int64_t left = rows - tile * WIDTH;
            for (int j = 0; j < WIDTH; j++) value[j] = j < left ? values[tile * WIDTH + j] : 0.0f;
        }
        for (const layer *l = layers; l < last; l++) hidden(l, step, tile);
        products(last, tile, last->edges[step], many, last->seen[step + 1], params + tile * WIDTH,
                 tiles * WIDTH);
    }
}

/* What inverts a scalar map: z and parameters to x, which may be z's memory, and log dx/dz; 0 if
   memory ran out. Columns lie one after another. */
typedef int inverse(const void *settings, int64_t elements, int threads, const planes *z,
                    const planes *from, const planes *x, const planes *ladj);

typedef struct {
    inverse *invert;
    const void *settings;
    int64_t params;
} scalar_map;

/* All steps of some tiles; buffers as in made_walk. 0 if there is no memory. */
static int walk(const layer *layers, const layer *last, const scalar_map *maps, int64_t chained,
                int64_t first, int64_t tiles, float *ladj) {
    const int64_t steps = layers->inputs, rows = tiles * WIDTH, apart = steps * WIDTH;
    int64_t many = 0;
    for (int64_t m = 0; m < chained; m++) many += maps[m].params;
    float *params = malloc((size_t)((many + 1) * rows) * sizeof(float)), *log = params + many * rows;
    int whole = params != NULL;
    for (int64_t step = 0; whole && step < steps; step++) {
        for (int64_t tile = 0; tile < tiles; tile++) {
            for (const layer *l = layers; l < last; l++) hidden(l, step, first + tile);
            products(last, first + tile, last->edges[step], many, last->seen[step + 1],
                     params + tile * WIDTH, rows);
        }
        const int64_t at = first * apart + step * WIDTH;
        planes x = {layers->input + at, WIDTH, apart, 1, 0}, logs = {log, WIDTH, WIDTH, 1, 0};
        planes from = {log, rows, 0, 1, rows};
        for (const scalar_map *m = maps + chained - 1; whole && m >= maps; m--) {
            from.at -= m->params * rows;
            whole = m->invert(m->settings, rows, 1, &x, &from, &x, &logs);
            for (int64_t tile = 0; whole && tile < tiles; tile++)
                EACH { ladj[at + tile * apart + j] += log[tile * WIDTH + j]; }
        }
    }
    free(params);
    return whole;
}

/* All steps: the first layer's input, (tiles, variables, WIDTH), is z and becomes x, in the order
   of the steps; log dx/dz is added to ladj. What inverts a variable is a chain of maps, whose
   parameters lie one after another and which are undone from the last. 0 if there is no memory. */
int made_walk(const layer *layers, int64_t count, const scalar_map *maps, int64_t chained,
              int64_t tiles, int threads, float *ladj) {
    int64_t share = (tiles + threads - 1) / threads, group = share < MOST ? share : MOST;
    int64_t groups = (tiles + group - 1) / group, work = 0;
    for (const layer *l = layers; l < layers + count; l++) work += l->units * l->inputs;
    int failed = 0, taken_on = groups < threads ? (int)groups : threads;
#pragma omp parallel for schedule(dynamic) num_threads(taken_on) if (work * tiles * WIDTH > FEW)
    for (int64_t first = 0; first < tiles; first += group) {
        int64_t taken = tiles - first < group ? tiles - first : group;
        if (!walk(layers, layers + count - 1, maps, chained, first, taken, ladj)) {
#pragma omp atomic write
            failed = 1;
        }
    }
    return !failed;
}
