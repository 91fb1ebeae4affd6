/* What functions in C share. */

#include <stdint.h>
#include <string.h>

/* Numbers of elements in rows and columns, `own` apart those of one element. */
typedef struct {
    float *at;
    int64_t columns, row, column, own;
} planes;

static inline double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint64_t to_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x for x <= 0, such that loops over it become vector instructions, to 3 roundings;
   below -690 that of -690, which is 1e-300. x = n log 2 + r. */
static inline double exponential(double x) {
    double y = x < -690.0 ? -690.0 : x;
    double shifted = y * 0x1.71547652b82fep0 + 0x1.8p52; /* its last bits are those of n */
    double n = shifted - 0x1.8p52;
    double r = (y - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
    double sum = 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    double out = from_bits(to_bits(sum) + (to_bits(shifted) << 52));
    return x == x ? out : x;
}
