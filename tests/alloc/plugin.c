/* SPDX-License-Identifier: MIT */
/* A library that allocates in its constructor, its destructor and its thread data. */
#include <stdlib.h>
#include <string.h>

#include "tests/alloc/api.h"
#include "tests/alloc/fill.h"
#include "tests/alloc/plugin.h"

static void *from_constructor;
static _Thread_local struct {
	void *p;
	char room[2000];
} of_thread;

__attribute__((constructor)) static void on_load(void)
{
	from_constructor = malloc(5000);
	if (!from_constructor)
		abort();
	fill__block(from_constructor, 5000, 10);
}

__attribute__((destructor)) static void on_unload(void)
{
	if (!fill__holds(from_constructor, 5000, 5000, 10))
		abort();
	free(from_constructor);
	free(calloc(100, 100));
}

/* The block comes from the allocator under test, so that it can outlive this library. */
void *plugin__work(const struct alloc_api *api, size_t size)
{
	void *p = api->malloc(size);

	if (!p)
		return NULL;
	memset(of_thread.room, 1, sizeof(of_thread.room));
	of_thread.p = api->malloc(64);
	api->free(of_thread.p);
	fill__block(p, size, 11);
	return p;
}

void *plugin__own_malloc(const struct alloc_api *api, size_t size)
{
	static void *before;
	void *p = malloc(size);

	(void)api;
	free(before);
	before = p;
	if (p)
		fill__block(p, size, 12);
	return p;
}
