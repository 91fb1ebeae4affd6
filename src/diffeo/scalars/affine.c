/* The inverse of an affine map on float32, as nets/made.c wants it. Formulas: affine.py. */

#include "../native.h"

int affine_inverse(const double *bound, int64_t elements, int threads, const planes *z,
                   const planes *from, const planes *x, const planes *ladj) {
    (void)threads;
    for (int64_t i = 0; i * z->columns < elements; i++) {
        const float *shift = from->at + i * z->columns, *raw = shift + from->own;
        const float *in = z->at + i * z->row;
        float *out = x->at + i * x->row, *log = ladj->at + i * ladj->row;
#pragma omp simd
        for (int64_t j = 0; j < z->columns; j++) {
            double a = raw[j], s = a / (1.0 + (a < 0.0 ? -a : a) / *bound);
            double small = exponential(s < 0.0 ? s : -s);
            out[j] = (float)((in[j] - (double)shift[j]) * (s < 0.0 ? 1.0 / small : small));
            log[j] = (float)-s;
        }
    }
    return 1;
}
