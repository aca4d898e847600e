// SPDX-License-Identifier: MIT
#include "user/hold.h"

#include <errno.h>
#include <stdlib.h>

#include "user/util/hmap.h"

#define HELD_MOST (256 * 1024) /* of one call; a call that does more has its lines before its own */

struct held {
	uint64_t owner; /* the call */
	bool told; /* its own line was written */
	FILE *file; /* NULL: nothing waits */
	char *text;
	size_t size;
};

struct hold {
	FILE *out;
	struct hmap threads; /* tid -> struct held * */
};

struct hold *hold__new(FILE *out)
{
	struct hold *h = calloc(1, sizeof(*h));

	if (h)
		h->out = out;
	return h;
}

static struct held *hold__thread(struct hold *h, uint32_t tid, bool make)
{
	uint64_t *found = hmap__find(&h->threads, tid);
	struct held *t;

	if (found || !make)
		return found ? (struct held *)(uintptr_t)*found : NULL;
	t = calloc(1, sizeof(*t));
	if (t && hmap__set(&h->threads, tid, (uintptr_t)t)) {
		free(t);
		return NULL;
	}
	return t;
}

/* Write what waits. */
static int hold__let_go(struct hold *h, struct held *t)
{
	int err = 0;

	if (!t || !t->file)
		return 0;
	if (fclose(t->file))
		err = -errno;
	else if (fwrite(t->text, 1, t->size, h->out) != t->size)
		err = -errno;
	free(t->text);
	t->file = NULL;
	return err;
}

FILE *hold__file(struct hold *h, uint32_t tid, uint64_t owner)
{
	struct held *t;

	/* It may have happened between the return of a call and the record of it. */
	if (!owner)
		return h->out;
	t = hold__thread(h, tid, true);
	if (!t)
		return NULL;
	if (t->owner != owner) {
		if (hold__let_go(h, t))
			return NULL;
		t->owner = owner;
		t->told = false;
	}
	if (t->told)
		return h->out;
	if (t->file && !fflush(t->file) && t->size > HELD_MOST && hold__let_go(h, t))
		return NULL;
	if (!t->file)
		t->file = open_memstream(&t->text, &t->size);
	return t->file;
}

int hold__before_call(struct hold *h, uint32_t tid, uint64_t owner)
{
	struct held *t = hold__thread(h, tid, false);

	return t && t->owner != owner ? hold__let_go(h, t) : 0;
}

int hold__after_call(struct hold *h, uint32_t tid, uint64_t owner)
{
	struct held *t = hold__thread(h, tid, true);
	int err;

	if (!t)
		return -ENOMEM;
	err = hold__let_go(h, t);
	t->owner = owner;
	t->told = true;
	return err;
}

int hold__end_thread(struct hold *h, uint32_t tid)
{
	struct held *t = hold__thread(h, tid, false);
	int err;

	if (!t)
		return 0;
	err = hold__let_go(h, t);
	hmap__remove(&h->threads, tid);
	free(t);
	return err;
}

int hold__free(struct hold *h)
{
	uint64_t tid, t;
	size_t pos = 0;
	int err = 0, failed;

	if (!h)
		return 0;
	while (hmap__next(&h->threads, &pos, &tid, &t)) {
		failed = hold__let_go(h, (struct held *)(uintptr_t)t);
		err = err ? err : failed;
		free((void *)(uintptr_t)t);
	}
	hmap__clear(&h->threads);
	free(h);
	return err;
}
