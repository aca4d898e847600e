// SPDX-License-Identifier: MIT
#include "user/source/ring/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define EVERY_NS 250000000 /* how long a piece is */
#define FIRST_NS 20000000 /* that the first measurement takes */
#define TRIES 8

/* The relation is a line in each piece, and pieces join. */
struct ring_clock {
	struct ring_line latest; /* of .pieces; before there is one it begins nowhere */
	bool is_ns;
	uint64_t base; /* the counter where ticks are 0 */
	struct ring_line first; /* measured then */
	uint64_t last_ticks, last_ns; /* as measured last */
	struct ring_line *pieces;
	size_t n, room;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Both clocks at one moment: of several tries the one that was quickest. */
static void clock__measure(uint64_t *counter, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc(), middle = now_ns(), after = __rdtsc();

		if (after - before >= best)
			continue;
		best = after - before;
		*counter = before + best / 2;
		*ns = middle;
	}
}

/* Whether the kernel itself keeps time by the counter. */
static bool counter_is_clock(void)
{
	FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	char name[32] = "";
	bool is;

	if (!f)
		return false;
	is = fgets(name, sizeof(name), f) && !strcmp(name, "tsc\n");
	fclose(f);
	return is;
}

struct ring_clock *ring_clock__new(void)
{
	struct ring_clock *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->is_ns = !counter_is_clock();
	c->first.rate = 1ULL << RING_RATE_BITS;
	c->latest = c->first; /* ticks are ns */
	if (!c->is_ns) {
		c->latest.ticks = UINT64_MAX;
		clock__measure(&c->base, &c->first.ns);
		/* Ticks of other processors, and of calls that are under way, are not below 0. */
		c->base -= 1ULL << 20;
		c->first.ticks = 1ULL << 20;
	}
	return c;
}

void ring_clock__free(struct ring_clock *c)
{
	if (!c)
		return;
	free(c->pieces);
	free(c);
}

bool ring_clock__is_ns(const struct ring_clock *c)
{
	return c->is_ns;
}

uint64_t ring_clock__base(const struct ring_clock *c)
{
	return c->base;
}

static uint64_t rate_of(uint64_t ns, uint64_t ticks)
{
	return ticks ? (uint64_t)(((unsigned __int128)ns << RING_RATE_BITS) / ticks) : 1;
}

static void clock__add(struct ring_clock *c, struct ring_line p)
{
	struct ring_line *grown;
	size_t room = c->room ? c->room * 2 : 64;

	if (c->n == c->room) {
		grown = reallocarray(c->pieces, room, sizeof(*grown));
		if (!grown)
			return; /* the last piece goes on */
		c->pieces = grown;
		c->room = room;
	}
	c->pieces[c->n++] = c->latest = p;
}

void ring_clock__adjust(struct ring_clock *c)
{
	uint64_t counter, ns, ticks, shown, target, recent;
	struct ring_line last;

	if (c->is_ns)
		return;
	clock__measure(&counter, &ns);
	ticks = counter - c->base;
	if (!c->n) {
		/* Its rate is that of all that comes in the next piece: it takes a moment. */
		while (ns - c->first.ns < FIRST_NS) {
			clock__measure(&counter, &ns);
			ticks = counter - c->base;
		}
		c->first.rate = rate_of(ns - c->first.ns, ticks - c->first.ticks);
		clock__add(c, c->first);
		c->last_ticks = ticks;
		c->last_ns = ns;
		return;
	}
	last = c->pieces[c->n - 1];
	if (ticks <= c->last_ticks || ns - c->last_ns < EVERY_NS)
		return;
	/* Go on from where the last piece has come to, and be right when this one ends. */
	shown = ring_clock__ns(c, ticks);
	recent = rate_of(ns - c->last_ns, ticks - c->last_ticks);
	c->last_ticks = ticks;
	c->last_ns = ns;
	target = ns + EVERY_NS;
	last.ticks = ticks;
	last.ns = shown;
	last.rate = target > shown ? rate_of(target - shown, rate_of(EVERY_NS, 1) / recent) : 1;
	clock__add(c, last);
}

uint64_t ring_clock__ns_before(const struct ring_clock *c, uint64_t ticks)
{
	const struct ring_line *p;
	size_t low = 0, high = c->n;

	if (!c->n)
		return c->first.ns;
	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (c->pieces[middle].ticks <= ticks)
			low = middle;
		else
			high = middle;
	}
	p = &c->pieces[low];
	return ticks < p->ticks ? p->ns : ring_line__ns(p, ticks);
}
