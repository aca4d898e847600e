/* SPDX-License-Identifier: MIT */
/*
 * Matrices row by row, from calloc: zeroed blocks of 1 to 512 KiB, some used
 * in full, some only in part, dropped row by row.
 */
#include "tests/bench/alloc/work.h"

static double **matrix(size_t rows, size_t columns)
{
	double **m = calloc(rows, sizeof(*m));

	WORK_CHECK(m);
	for (size_t i = 0; i < rows; i++) {
		m[i] = calloc(columns, sizeof(**m));
		WORK_CHECK(m[i]);
	}
	return m;
}

static void drop(double **m, size_t rows)
{
	for (size_t i = 0; i < rows; i++)
		free(m[i]);
	free(m);
}

/* A band of ones next to the diagonal: its sum is known, all else must be 0. */
static void turn(size_t rows, size_t columns, size_t band)
{
	double **m = matrix(rows, columns), sum = 0;

	for (size_t i = 0; i < rows; i++)
		for (size_t k = 0; k < band; k++)
			m[i][(i + k) % columns] += 1;
	for (size_t i = 0; i < rows; i++)
		for (size_t k = 0; k < columns; k++)
			sum += m[i][k];
	WORK_CHECK(sum == (double)(rows * band));
	drop(m, rows);
}

int main(int argc, char **argv)
{
	size_t turns;

	work__start(argc, argv);
	turns = work__scaled(60);
	for (size_t i = 0; i < turns; i++) {
		turn(200, 200 + i % 50, 100);
		turn(60, 2000 + 10 * (i % 50), 100);
		turn(40, 10000 + 100 * (i % 50), 50);
		turn(10, 60000, 10);
	}
	return work__end();
}
