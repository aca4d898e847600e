/* SPDX-License-Identifier: MIT */
/* The library that comes and goes, as its user sees it: a block of `size` bytes, filled. */
#ifndef TESTS_ALLOC_PLUGIN_H
#define TESTS_ALLOC_PLUGIN_H

#include <stddef.h>

struct alloc_api;
typedef void *plugin_work_fn(const struct alloc_api *api, size_t size);

plugin_work_fn plugin__work, plugin__own_malloc;

#endif
