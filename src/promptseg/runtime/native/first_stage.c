/* TinyViT's first stage on Intel AMX: pointwise, depthwise and pointwise convolution in one go.

   Between the layers of an inverted residual lie several times as many numbers as before and after it.
   Here they live in the cache, three rows at a time, in float32; GELU and biases are applied where a
   product comes out of the tiles. Images are channels last; bfloat16 outside, float32 inside. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint16_t bf16;

enum {
    LANES = 16,           /* float32 of a register; rows and columns of a tile of float32 */
    DEPTH = 32,           /* bfloat16 of a tile's row: inputs that a step takes in */
    TILE = LANES * DEPTH, /* bfloat16 of a tile of weights */
    TILE_ROW = 64,        /* bytes */
};

/* The compiler may not know what an instruction on tiles reads: let all that was stored be in memory. */
#define STORED() __asm__ volatile("" ::: "memory")

/* x * Phi(x), Phi as an odd polynomial that is cut where it reaches 0 and 1; within 7e-5 for x > -90. */
static inline __m512 gelu(__m512 x)
{
    const float odd[] = {0.398493953f,     -0.065574693f,    0.00932377452f,  -0.000957214929f,
                         6.77804375e-05f, -3.10364477e-06f, 8.19087342e-08f, -9.39874872e-10f};
    const __m512 end = _mm512_set1_ps(4.15f), half = _mm512_set1_ps(0.5f);
    const __m512 z = _mm512_min_ps(_mm512_max_ps(x, _mm512_sub_ps(_mm512_setzero_ps(), end)), end);
    const __m512 u = _mm512_mul_ps(z, z);
    __m512 h = _mm512_set1_ps(odd[7]);
    for (int i = 6; i >= 0; i--)
        h = _mm512_fmadd_ps(u, h, _mm512_set1_ps(odd[i]));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(z, h, half));
}

static inline void store_bf16(bf16 *to, __m512 x)
{
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x));
}

/* Ask the kernel for the tiles' state; 0 if it is granted, to all threads of the process. */
int allow_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return (int)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}

static void configure_tiles(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } all;
    memset(&all, 0, sizeof all);
    all.palette = 1;
    for (int i = 0; i < 8; i++) {
        all.bytes[i] = TILE_ROW;
        all.rows[i] = LANES;
    }
    __asm__ volatile("" ::"r"(&all) : "memory");
    _tile_loadconfig(&all);
}

/* x (pixels, 3) -> out (pixels, 32): a pointwise convolution and GELU.
   weight (3, 32), bias (32). */
void embed_pixels(const float *x, long pixels, const float *weight, const float *bias, bf16 *out)
{
    for (int half = 0; half < 2; half++) {
        const __m512 b = _mm512_loadu_ps(bias + LANES * half);
        __m512 w[3];
        for (int i = 0; i < 3; i++)
            w[i] = _mm512_loadu_ps(weight + 2 * LANES * i + LANES * half);
        for (long p = 0; p < pixels; p++) {
            __m512 y = b;
            for (int i = 0; i < 3; i++)
                y = _mm512_fmadd_ps(_mm512_set1_ps(x[3 * p + i]), w[i], y);
            store_bf16(out + 2 * LANES * p + LANES * half, gelu(y));
        }
    }
}

/* A row x (width, in) -> wide (channels / 16, width + 2, 16): pointwise convolution and GELU.
   The first and the last column are the zeros beyond the image. */
static void widen_row(const bf16 *x, long width, long in, long channels, const bf16 *weight,
                      const float *bias, float *wide)
{
    const long steps = in / DEPTH, plane = (width + 2) * LANES;
    for (long p = 0; p < width; p += LANES)
        for (long c = 0; c < channels / LANES; c += 2) {
            const bf16 *w0 = weight + c * steps * TILE, *w1 = w0 + steps * TILE;
            float *out[2] = {wide + c * plane + (p + 1) * LANES, wide + (c + 1) * plane + (p + 1) * LANES};
            _tile_zero(0);
            _tile_zero(1);
            for (long k = 0; k < steps; k++) {
                _tile_loadd(4, x + p * in + k * DEPTH, 2 * in);
                _tile_loadd(5, w0 + k * TILE, TILE_ROW);
                _tile_loadd(6, w1 + k * TILE, TILE_ROW);
                _tile_dpbf16ps(0, 4, 5);
                _tile_dpbf16ps(1, 4, 6);
            }
            _tile_stored(0, out[0], TILE_ROW);
            _tile_stored(1, out[1], TILE_ROW);
            for (int half = 0; half < 2; half++) {
                const __m512 b = _mm512_loadu_ps(bias + (c + half) * LANES);
                for (float *y = out[half]; y < out[half] + LANES * LANES; y += LANES)
                    _mm512_store_ps(y, gelu(_mm512_add_ps(_mm512_load_ps(y), b)));
            }
        }
}

/* Three wide rows -> out (width, channels): depthwise 3 x 3 convolution and GELU.
   weight (9, channels), bias (channels). */
static void depthwise_row(float *const rows[3], long width, long channels, const float *weight,
                          const float *bias, bf16 *out)
{
    for (long c = 0; c < channels; c += LANES) {
        const long plane = c * (width + 2);
        const float *above = rows[0] + plane, *own = rows[1] + plane, *below = rows[2] + plane;
        const __m512 b = _mm512_loadu_ps(bias + c);
        __m512 w[9];
        for (int i = 0; i < 9; i++)
            w[i] = _mm512_loadu_ps(weight + i * channels + c);
        for (long p = 0; p < width; p++, above += LANES, own += LANES, below += LANES) {
            __m512 y[3] = {b, _mm512_setzero_ps(), _mm512_setzero_ps()};
            for (int i = 0; i < 3; i++) {
                y[0] = _mm512_fmadd_ps(w[i], _mm512_load_ps(above + i * LANES), y[0]);
                y[1] = _mm512_fmadd_ps(w[3 + i], _mm512_load_ps(own + i * LANES), y[1]);
                y[2] = _mm512_fmadd_ps(w[6 + i], _mm512_load_ps(below + i * LANES), y[2]);
            }
            store_bf16(out + p * channels + c, gelu(_mm512_add_ps(_mm512_add_ps(y[0], y[1]), y[2])));
        }
    }
}

/* Tiles 0 to 3 += 16 pixels x (16, in) times weight (in / 32, 4 tiles). */
static inline void multiply(const bf16 *x, long in, const bf16 *weight)
{
    for (long k = 0; k < in / DEPTH; k++, weight += 4 * TILE) {
        _tile_loadd(4, x + k * DEPTH, 2 * in);
        _tile_loadd(5, weight, TILE_ROW);
        _tile_loadd(6, weight + TILE, TILE_ROW);
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(5, weight + 2 * TILE, TILE_ROW);
        _tile_loadd(6, weight + 3 * TILE, TILE_ROW);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 6);
    }
}

/* A row wide (width, channels) and what the block began with x (width, in) -> out (width, 64):
   pointwise convolutions of both, added, and GELU. That of x has weights of several parts: their sum
   is exacter than bfloat16. */
static void narrow_row(const bf16 *wide, const bf16 *x, long width, long in, long channels,
                       const bf16 *weight, const bf16 *residual, long parts, const float *bias, bf16 *out)
{
    float sums[4][LANES * LANES] __attribute__((aligned(64)));
    for (long p = 0; p < width; p += LANES) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        multiply(wide + p * channels, channels, weight);
        for (long i = 0; i < parts; i++)
            multiply(x + p * in, in, residual + i * (in / DEPTH) * 4 * TILE);
        _tile_stored(0, sums[0], TILE_ROW);
        _tile_stored(1, sums[1], TILE_ROW);
        _tile_stored(2, sums[2], TILE_ROW);
        _tile_stored(3, sums[3], TILE_ROW);
        for (int n = 0; n < 4; n++) {
            const __m512 b = _mm512_loadu_ps(bias + n * LANES);
            for (int i = 0; i < LANES; i++) {
                const __m512 y = _mm512_add_ps(_mm512_load_ps(sums[n] + i * LANES), b);
                store_bf16(out + (p + i) * 4 * LANES + n * LANES, gelu(y));
            }
        }
    }
}

/* Rows first to last - 1 of an inverted residual: x (height, width, in) -> out (height, width, 64).

   width is a multiple of 16, in of 32, channels (between its layers) of 32. Weights of pointwise
   convolutions are tiles (16 pairs of inputs, 16 outputs, 2): widen (channels / 16, in / 32),
   narrow (channels / 32, 4), residual (parts, in / 32, 4). scratch: 64-byte aligned,
   3 * channels * (width + 2) float and channels * width bfloat16. */
void inverted_residual(const bf16 *x, long height, long first, long last, long width, long in,
                       long channels, const bf16 *widen, const float *widen_bias,
                       const float *depthwise, const float *depthwise_bias, const bf16 *narrow,
                       const bf16 *residual, long parts, const float *narrow_bias, float *scratch,
                       bf16 *out)
{
    const long size = channels * (width + 2);
    float *rows[3] = {scratch, scratch + size, scratch + 2 * size};
    bf16 *row = (bf16 *)(scratch + 3 * size);
    memset(scratch, 0, 3 * size * sizeof *scratch);
    configure_tiles();
    for (long r = first - 1; r <= last; r++) { /* the newest row; the one before it is finished */
        if (r >= 0 && r < height)
            widen_row(x + r * width * in, width, in, channels, widen, widen_bias, rows[2]);
        else
            memset(rows[2], 0, size * sizeof *scratch);
        if (r > first) {
            const long done = (r - 1) * width;
            depthwise_row(rows, width, channels, depthwise, depthwise_bias, row);
            STORED();
            narrow_row(row, x + done * in, width, in, channels, narrow, residual, parts,
                       narrow_bias, out + done * 4 * LANES);
        }
        float *oldest = rows[0];
        rows[0] = rows[1];
        rows[1] = rows[2];
        rows[2] = oldest;
    }
    _tile_release();
}
