/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Which allocations are sampled: pure functions, so that the tests run the very code that
 * the BPF programs do.
 *
 * Samples are points strewn over the bytes that are asked for, so that each byte has the same chance
 * of one (a Poisson process): the distance from one to the next is exponentially
 * distributed. An allocation is sampled when a point lies in it, with a chance of
 * 1 - exp(-size / mean) therefore. An exponential distribution has no memory: what is left of a
 * sampled block does not count, and the next distance begins at its end.
 *
 * Fixed point, since BPF has no floating point: Q32 is in units of 2^-32.
 */
#ifndef MEMTRACE_SAMPLE_H
#define MEMTRACE_SAMPLE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define SAMPLE_INLINE static inline __attribute__((always_inline))

#define SAMPLE_LN2 2977044472ULL /* Q32 */
#define SAMPLE_SQRT2 3037000500ULL /* in units of 2^-31 */

/*
 * -ln(x / 2^64), Q32, for x > 0. x / 2^64 = v * 2^-k with v between 1/sqrt(2) and sqrt(2), and
 * ln(v) = 2 atanh(z), z = (v - 1) / (v + 1), by its series: |z| < 0.172, so that the first term left
 * out is below 2^-36.
 */
SAMPLE_INLINE __u64 sample__minus_ln(__u64 x)
{
	__u32 k = 1;
	__u64 v, z, zz, s;
	int below;

	if (!(x >> 32))
		x <<= 32, k += 32;
	if (!(x >> 48))
		x <<= 16, k += 16;
	if (!(x >> 56))
		x <<= 8, k += 8;
	if (!(x >> 60))
		x <<= 4, k += 4;
	if (!(x >> 62))
		x <<= 2, k += 2;
	if (!(x >> 63))
		x <<= 1, k += 1;
	v = x >> 32; /* 1 to 2, in units of 2^-31 */
	below = v >= SAMPLE_SQRT2;
	if (below) /* taken as half of it: below 1 */
		z = (((1ULL << 32) - v) << 32) / (v + (1ULL << 32));
	else
		z = ((v - (1ULL << 31)) << 32) / (v + (1ULL << 31));
	zz = z * z >> 32;
	s = (1ULL << 32) / 13;
	s = (s * zz >> 32) + (1ULL << 32) / 11;
	s = (s * zz >> 32) + (1ULL << 32) / 9;
	s = (s * zz >> 32) + (1ULL << 32) / 7;
	s = (s * zz >> 32) + (1ULL << 32) / 5;
	s = (s * zz >> 32) + (1ULL << 32) / 3;
	s = (s * zz >> 32) + (1ULL << 32);
	s = s * z >> 31;
	return below ? (k - 1) * SAMPLE_LN2 + s : k * SAMPLE_LN2 - s;
}

/*
 * Bytes to the next sample, at least 1, from 64 random bits. mean: at most 2^32. A byte that
 * a point lies in counts whole, hence the 1.
 */
SAMPLE_INLINE __u64 sample__distance(__u64 mean, __u64 random)
{
	__u64 e = sample__minus_ln(random | 1);

	return mean * (e >> 32) + (mean * (e & 0xffffffff) >> 32) + 1;
}

/*
 * What an allocation of this size is for sampling: one of nothing as one of a byte, or else there
 * would be none in the estimates.
 */
SAMPLE_INLINE __u64 sample__bytes(__u64 size)
{
	return size ? size : 1;
}

/* Whether an allocation of so many sample__bytes() has the next sample in it; *left: bytes to that. Then
 * the next distance has to be drawn. */
SAMPLE_INLINE int sample__hits(__u64 *left, __u64 bytes)
{
	if (bytes >= *left)
		return 1;
	*left -= bytes;
	return 0;
}

#ifndef __bpf__ /* which has no products of 128 bits */

#define SAMPLE_ONE (1ULL << 32) /* Q32 */

/* exp(-x), Q32. Its part behind the point by the series, whose terms beyond the 13th are below 2^-32. */
SAMPLE_INLINE __u64 sample__exp_minus(__u64 x)
{
	__u64 f = x & (SAMPLE_ONE - 1), s = SAMPLE_ONE, whole = x >> 32;
	unsigned int k;

	for (k = 13; k; k--)
		s = SAMPLE_ONE - (f * s >> 32) / k;
	while (whole-- && s)
		s = s * 1580030169ULL >> 32; /* exp(-1) */
	return s;
}

/*
 * What an allocation of so many bytes stands for, once it has been sampled: size / (1 - exp(-x)) with
 * x = size / mean, in bytes. Where x is small 1 - exp(-x) is nearly nothing, so there it is
 * mean * x / (1 - exp(-x)), by the series of that.
 */
SAMPLE_INLINE __u64 sample__stands_for(__u64 size, __u64 mean)
{
	__u64 bytes = sample__bytes(size), x, xx, s;

	if (bytes / mean >= 32)
		return bytes;
	x = (bytes / mean << 32) + ((bytes % mean << 32) / mean);
	if (x > SAMPLE_ONE)
		return (__u64)(((unsigned __int128)bytes << 32) / (SAMPLE_ONE - sample__exp_minus(x)));
	xx = x * (x >> 1) >> 31;
	s = SAMPLE_ONE / 1209600 - xx / 47900160;
	s = SAMPLE_ONE / 30240 - (s * xx >> 32);
	s = SAMPLE_ONE / 720 - (s * xx >> 32);
	s = SAMPLE_ONE / 12 - (s * xx >> 32);
	s = SAMPLE_ONE + (x >> 1) + (s * xx >> 32);
	return (__u64)(((unsigned __int128)mean * s + SAMPLE_ONE / 2) >> 32);
}
#endif

#endif /* MEMTRACE_SAMPLE_H */
