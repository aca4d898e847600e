/* SPDX-License-Identifier: MIT */
/*
 * The command line: argv to struct options, the usage errors and the help text.
 *
 * Vocabulary
 *   word      the first argument that is not an option: a subcommand or the
 *             command to launch. All after a command is the command's own.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/cli_internal.h"
#include "user/options.h"
#include "user/source/uprobe/family.h"

#define DEFAULT_TOP 10
#define TOP_MAX 1000000
#define COMM_MAX 15 /* TASK_COMM_LEN without the NUL */
#define BUFFER_MIN_BYTES (4ULL << 10) /* a ring is at least a page */
#define RING_MIN_BYTES (4ULL << 10)
#define RING_MAX_BYTES (256ULL << 20)
#define BYTES_MAX (4ULL << 30)
#define MACHINE_SAMPLE_BYTES (512UL << 10)
#define DURATION_MAX_NS INT64_MAX /* what a timer can hold */

/* '+': stop at the first word; ':': missing values are told apart from unknown options. */
static const char short_options[] = "+:p:ad:i:so:u:n:vqhVc:D:";
static const struct option long_options[] = {
	{"pid", required_argument, NULL, 'p'},
	{"all", no_argument, NULL, 'a'},
	{"duration", required_argument, NULL, 'd'},
	{"interval", required_argument, NULL, 'i'},
	{"stream", no_argument, NULL, 's'},
	{"output", required_argument, NULL, 'o'},
	{"user", required_argument, NULL, 'u'},
	{"top", required_argument, NULL, 'n'},
	{"verbose", no_argument, NULL, 'v'},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"json", optional_argument, NULL, OPT_JSON},
	{"json-sites", required_argument, NULL, OPT_JSON_SITES},
	{"no-follow", no_argument, NULL, OPT_NO_FOLLOW},
	{"comm", required_argument, NULL, OPT_COMM},
	{"cgroup", required_argument, NULL, OPT_CGROUP},
	{"buffer", required_argument, NULL, OPT_BUFFER},
	{"heap", required_argument, NULL, OPT_HEAP},
	{"allocator", required_argument, NULL, OPT_ALLOCATOR},
	{"allocator-symbol", required_argument, NULL, OPT_ALLOCATOR_SYMBOL},
	{"planes", required_argument, NULL, OPT_PLANES},
	{"sample", required_argument, NULL, OPT_SAMPLE},
	{"on-overrun", required_argument, NULL, OPT_ON_OVERRUN},
	{"ring", required_argument, NULL, OPT_RING},
	{"contract", required_argument, NULL, 'c'},
	{"define", required_argument, NULL, 'D'},
	{"learn", optional_argument, NULL, OPT_LEARN},
	{"strict", no_argument, NULL, OPT_STRICT},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"tap", optional_argument, NULL, OPT_TAP},
	{"junit", optional_argument, NULL, OPT_JUNIT},
	{NULL, 0, NULL, 0},
};

int usage_error(const char *format, ...)
{
	va_list args;

	fputs("memtrace: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'memtrace --help'\n", stderr);
	return -EINVAL;
}

const char *option_name(int id)
{
	for (const struct option *l = long_options; l->name; l++)
		if (l->val == id)
			return l->name;
	return "?";
}

int bad_value(int id, const char *value, const char *why)
{
	return usage_error("--%s: \"%s\": %s", option_name(id), value, why);
}

/* Digits at *s; moves *s behind them. -EINVAL: there are none; -ERANGE: too large. */
static int parse_digits(const char **s, uint64_t *out)
{
	uint64_t n = 0;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s); (*s)++) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(**s - '0'), &n))
			return -ERANGE;
	}
	*out = n;
	return 0;
}

static int add_pid(struct options *o, pid_t pid)
{
	pid_t *grown;

	for (size_t i = 0; i < o->npids; i++)
		if (o->pids[i] == pid)
			return 0;
	grown = reallocarray(o->pids, o->npids + 1, sizeof(*grown));
	if (!grown) {
		fputs("memtrace: --pid: out of memory\n", stderr);
		return -ENOMEM;
	}
	o->pids = grown;
	o->pids[o->npids++] = pid;
	return 0;
}

static int parse_pids(struct options *o, const char *value)
{
	const char *s = value;
	uint64_t pid;
	int err;

	for (;; s++) {
		err = parse_digits(&s, &pid);
		if (err == -ERANGE || (!err && pid > INT_MAX))
			return bad_value('p', value, "larger than any process number");
		if (err || (*s && *s != ','))
			return bad_value('p', value, "not a list of process numbers (try 123,456)");
		if (pid == 0)
			return bad_value('p', value, "process 0 is the kernel's own idle task");
		err = add_pid(o, (pid_t)pid);
		if (err)
			return err;
		if (!*s)
			return 0;
	}
}

/* "10", "1.5", "500ms", "2m", "1h" in nanoseconds. */
static int parse_duration(int id, const char *value, uint64_t *out)
{
	static const struct {
		const char *suffix;
		uint64_t ns;
	} units[] = {
		{"", 1000000000ULL},   {"s", 1000000000ULL},	{"ms", 1000000ULL},
		{"m", 60000000000ULL}, {"h", 3600000000000ULL},
	};
	uint64_t whole = 0, part = 0, scale = 1;
	const char *s = value;
	unsigned __int128 ns;
	int err = 0;

	if (*s != '.')
		err = parse_digits(&s, &whole);
	if (err == -ERANGE)
		return bad_value(id, value, "too long");
	if (!err && *s == '.') {
		if (!isdigit((unsigned char)*++s))
			err = -EINVAL;
		for (; isdigit((unsigned char)*s); s++) {
			if (scale == 1000000000ULL)
				continue; /* below a nanosecond of a second */
			part = part * 10 + (uint64_t)(*s - '0');
			scale *= 10;
		}
	}
	for (size_t i = 0; !err && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(s, units[i].suffix) != 0)
			continue;
		ns = (unsigned __int128)whole * units[i].ns +
		     (unsigned __int128)part * units[i].ns / scale;
		if (ns > DURATION_MAX_NS)
			return bad_value(id, value, "too long");
		if (ns == 0)
			return bad_value(id, value, "must be more than 0");
		*out = (uint64_t)ns;
		return 0;
	}
	return bad_value(id, value, "not a duration (try 10, 500ms, 2m)");
}

/* "65536", "64K", "16M", "1GiB" in bytes; what is more than 4 GiB is refused. */
static int parse_bytes(int id, const char *value, uint64_t *out)
{
	static const char units[] = "KMG";
	const char *s = value, *unit;
	uint64_t n;
	int err;

	err = parse_digits(&s, &n);
	if (err == -ERANGE)
		return bad_value(id, value, "more than 4 GiB");
	if (!err && *s) {
		unit = strchr(units, toupper((unsigned char)*s));
		if (!unit || (s[1] && strcmp(s + 1, "iB") != 0))
			err = -EINVAL;
		else if (__builtin_mul_overflow(n, 1ULL << (10 * (unit - units + 1)), &n))
			return bad_value(id, value, "more than 4 GiB");
	}
	if (err)
		return bad_value(id, value, "not a size (try 64K, 16M, 1GiB)");
	if (n > BYTES_MAX)
		return bad_value(id, value, "more than 4 GiB");
	*out = n;
	return 0;
}

static int parse_buffer(const char *value, size_t *out)
{
	int err = parse_bytes(OPT_BUFFER, value, out);

	if (!err && *out < BUFFER_MIN_BYTES)
		return bad_value(OPT_BUFFER, value, "less than 4 KiB");
	return err;
}

static int parse_ring(const char *value, size_t *out)
{
	int err = parse_bytes(OPT_RING, value, out);

	if (!err && (*out < RING_MIN_BYTES || *out > RING_MAX_BYTES))
		return bad_value(OPT_RING, value, "not from 4 KiB to 256 MiB");
	return err;
}

static int parse_overrun(const char *value, bool *drop)
{
	*drop = strcmp(value, "drop") == 0;
	if (!*drop && strcmp(value, "block") != 0)
		return bad_value(OPT_ON_OVERRUN, value, "neither block nor drop");
	return 0;
}

static int parse_sample(const char *value, uint64_t *out)
{
	int err = parse_bytes(OPT_SAMPLE, value, out);

	if (!err && !*out)
		return bad_value(OPT_SAMPLE, value, "must be more than 0");
	return err;
}

static int parse_heap(const char *value, enum heap_choice *out)
{
	if (strcmp(value, "auto") == 0)
		*out = HEAP_CHOICE_AUTO;
	else if (strcmp(value, "uprobe") == 0)
		*out = HEAP_CHOICE_UPROBE;
	else if (strcmp(value, "none") == 0)
		*out = HEAP_CHOICE_NONE;
	else if (strcmp(value, "ring") == 0)
		*out = HEAP_CHOICE_RING;
	else if (strcmp(value, "contract") == 0)
		*out = HEAP_CHOICE_CONTRACT;
	else
		return bad_value(OPT_HEAP, value,
				 "not a heap plane (try auto, ring, uprobe, contract, none)");
	return 0;
}

/* "kernel" alone, or with "heap" in any order: the kernel plane is always on. */
static int parse_planes(const char *value, enum heap_choice *heap)
{
	if (strcmp(value, "kernel") == 0)
		*heap = HEAP_CHOICE_NONE;
	else if (strcmp(value, "kernel,heap") == 0 || strcmp(value, "heap,kernel") == 0)
		*heap = *heap == HEAP_CHOICE_NONE ? HEAP_CHOICE_AUTO : *heap;
	else
		return bad_value(OPT_PLANES, value, "not a list of planes (try kernel, kernel,heap)");
	return 0;
}

static int add_symbol(struct options *o, const char *value)
{
	char **grown;
	const char *name = value;

	if (!family__parse(&name))
		return bad_value(
			OPT_ALLOCATOR_SYMBOL, value,
			"its name does not end in what it does; say it: malloc=NAME, free=NAME");
	grown = reallocarray(o->symbols, o->nsymbols + 1, sizeof(*grown));
	if (!grown) {
		fputs("memtrace: --allocator-symbol: out of memory\n", stderr);
		return -ENOMEM;
	}
	o->symbols = grown;
	o->symbols[o->nsymbols++] = (char *)value;
	return 0;
}

static int parse_rows(int id, const char *value, size_t *out)
{
	const char *s = value;
	uint64_t n;
	int err;

	err = parse_digits(&s, &n);
	if (err == -ERANGE || (!err && n > TOP_MAX))
		return bad_value(id, value, "more than 1000000 rows");
	if (err || *s || n == 0)
		return bad_value(id, value, "not a number of rows (try 10)");
	*out = n;
	return 0;
}

static int parse_comm(const char *value, const char **out)
{
	if (strlen(value) > COMM_MAX)
		return usage_error("--comm: \"%s\": the kernel keeps 15 bytes of a name "
				   "(try \"%.15s\")",
				   value, value);
	*out = value;
	return 0;
}

static int not_built(int id, const char *value)
{
	return bad_value(id, value, "not built yet");
}

static int take_flag(struct options *o, int id)
{
	switch (id) {
	case 's':
		o->stream = true;
		break;
	case 'v':
		o->verbose = true;
		break;
	case 'q':
		o->quiet = true;
		break;
	case 'h':
		o->mode = MODE_HELP;
		break;
	case 'V':
		o->mode = MODE_VERSION;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_NO_FOLLOW:
		o->no_follow = true;
		break;
	default: /* -a: the mode is decided when all is read */
		return cli__take_check(o, id, NULL) < 0 ? -EINVAL : 0;
	}
	return 0;
}

static int take_value(struct options *o, int id, const char *value)
{
	int err;

	if (!*value)
		return usage_error("--%s: needs a value that is not empty", option_name(id));
	switch (id) {
	case 'p':
		return parse_pids(o, value);
	case 'd':
		return parse_duration(id, value, &o->duration_ns);
	case 'i':
		return parse_duration(id, value, &o->interval_ns);
	case 'n':
		return parse_rows(id, value, &o->top);
	case OPT_JSON_SITES:
		return parse_rows(id, value, &o->json_sites);
	case 'u':
		o->user = value;
		return 0;
	case OPT_JSON:
		o->json = true;
		o->json_path = value;
		return 0;
	case OPT_COMM:
		return parse_comm(value, &o->comm);
	case OPT_CGROUP:
		o->cgroup = value;
		return 0;
	case OPT_BUFFER:
		return parse_buffer(value, &o->buffer_bytes);
	case OPT_HEAP:
		return parse_heap(value, &o->heap);
	case OPT_PLANES:
		return parse_planes(value, &o->heap);
	case OPT_ALLOCATOR:
		o->allocator = value;
		return 0;
	case OPT_ALLOCATOR_SYMBOL:
		return add_symbol(o, value);
	case OPT_SAMPLE:
		return parse_sample(value, &o->sample_bytes);
	case OPT_RING:
		return parse_ring(value, &o->ring_bytes);
	case OPT_ON_OVERRUN:
		return parse_overrun(value, &o->drop);
	default: /* -o */
		err = cli__take_check(o, id, value);
		return err > 0 ? not_built(id, value) : err;
	}
}

/*
 * What getopt did not take. `arg` is the argument it stopped behind: the option
 * itself when that is a long one; `opt` its letter or id, 0 for an unknown long one.
 */
static int refuse_option(const char *arg, int opt, bool value_missing)
{
	int length = (int)strcspn(arg, "=");
	const char *name = opt ? option_name(opt) : "";
	bool is_long = strncmp(arg, "--", 2) == 0 && length > 2 &&
		       (!opt || strncmp(name, arg + 2, (size_t)length - 2) == 0);

	if (!is_long && value_missing)
		return usage_error("-%c/--%s: needs a value", opt, name);
	if (!is_long)
		return usage_error("-%c: unknown option", opt);
	if (value_missing)
		return usage_error("%s: needs a value", arg);
	if (opt)
		return usage_error("%.*s: takes no value", length, arg);
	for (const struct option *l = long_options; l->name; l++)
		if (strncmp(l->name, arg + 2, (size_t)length - 2) == 0)
			return usage_error("%.*s: ambiguous option", length, arg);
	return usage_error("%.*s: unknown option", length, arg);
}

/* The options from optind on, up to a word or the end. */
static int take_options(int argc, char **argv, struct options *o)
{
	int id, err = 0;

	opterr = 0;
	while (!err && o->mode != MODE_HELP && o->mode != MODE_VERSION &&
	       (id = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		if (id == '?' || id == ':')
			err = refuse_option(argv[optind - 1], optopt, id == ':');
		else
			err = optarg ? take_value(o, id, optarg) : take_flag(o, id);
	}
	return err;
}

static enum word classify(const char *word)
{
	static const struct {
		const char *name;
		enum word word;
	} subcommands[] = {
		{"doctor", WORD_DOCTOR},
		{"check", WORD_CHECK},
		{"report", WORD_REPORT},
	};

	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
		if (strcmp(word, subcommands[i].name) == 0)
			return subcommands[i].word;
	return WORD_COMMAND;
}

/*
 * Look at the whole line before anything is taken or refused: the exit status
 * of a usage error depends on whether a command was to be launched. Behind
 * "--" everything is a command, a subcommand's name too.
 */
static void survey(int argc, char **argv, struct line *line)
{
	int id, after_options = 1;

	memset(line, 0, sizeof(*line));
	optind = 0; /* glibc: start anew */
	opterr = 0;
	while ((id = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		line->given[id] = true;
		after_options = optind;
	}
	line->word_index = optind;
	if (optind < argc)
		line->word = optind > after_options ? WORD_COMMAND : classify(argv[optind]);
	if (line->word == WORD_DOCTOR || line->word == WORD_CHECK) {
		optind++;
		while ((id = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
			line->given[id] = true;
		line->command_index = optind;
	}
	optind = 0;
}

static int check_doctor(const struct line *line)
{
	static const int refused[] = {
		'p', 'a', 'd', 'i', 's', 'u', OPT_NO_FOLLOW, OPT_COMM, OPT_CGROUP, OPT_JSON_SITES,
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (line->given[refused[i]])
			return usage_error("doctor with --%s: doctor looks at the machine and "
					   "traces nothing",
					   option_name(refused[i]));
	return 0;
}

/* Options that do not go together; each message names both. */
static int check_conflicts(const struct line *line, const char *word)
{
	const bool *given = line->given;
	bool command = line->word == WORD_COMMAND;

	if (given['p'] && given['a'])
		return usage_error("-p/--pid with -a/--all: trace some processes or the machine");
	if (given['p'] && command)
		return usage_error("-p/--pid with a command (\"%s\"): attach or launch, not both",
				   word);
	if (given['a'] && command)
		return usage_error("-a/--all with a command (\"%s\"): trace the machine or the "
				   "command, not both",
				   word);
	if (given['i'] && given['s'])
		return usage_error("-i/--interval with -s/--stream: a live table or a line for "
				   "each event, not both");
	if (given['v'] && given['q'])
		return usage_error("-v/--verbose with -q/--quiet: say more or say less, not both");
	if (given[OPT_COMM] && !given['a'])
		return usage_error("--comm without -a/--all: it chooses among the machine's "
				   "processes");
	if (given[OPT_CGROUP] && !given['a'])
		return usage_error("--cgroup without -a/--all: it chooses among the machine's "
				   "processes");
	if (given[OPT_NO_FOLLOW] && given['a'])
		return usage_error("--no-follow with -a/--all: the whole machine has nobody to "
				   "follow");
	if (given[OPT_JSON_SITES] && !given[OPT_JSON])
		return usage_error("--json-sites without --json: it says how much of that");
	if (given[OPT_JSON_SITES] && given['a'] && !given[OPT_COMM] && !given[OPT_CGROUP])
		return usage_error("--json-sites with -a/--all: its report has processes, not "
				   "places (--comm and --cgroup have)");
	if (given['u'] && !command)
		return usage_error("-u/--user without a command: it says who runs the command");
	return 0;
}

/* What only a heap plane can do, without one. */
static int check_heap(const struct line *line, const struct options *o)
{
	static const int ringing[] = {OPT_RING, OPT_ON_OVERRUN};
	bool command = line->word == WORD_COMMAND || (line->word == WORD_CHECK && o->argv);
	static const int needing[] = {OPT_SAMPLE, OPT_ALLOCATOR, OPT_ALLOCATOR_SYMBOL};

	if (o->heap == HEAP_CHOICE_CONTRACT && line->given['a'] && !line->given[OPT_COMM] &&
	    !line->given[OPT_CGROUP])
		return usage_error(
			"-a/--all with --heap=contract: that is not built for the whole machine; "
			"choose processes with --comm or --cgroup");
	if (o->heap == HEAP_CHOICE_RING && !command && !o->npids)
		return usage_error("--heap=ring without a command or a process");
	if (o->heap == HEAP_CHOICE_RING && !command &&
	    (o->allocator || o->nsymbols || line->word == WORD_CHECK))
		return usage_error(
			"--heap=ring with -p/--pid is mtalloc's own tracing: neither a "
			"contract nor another allocator can be had with it, --heap=uprobe has them");
	for (size_t i = 0; i < sizeof(ringing) / sizeof(ringing[0]); i++)
		if (line->given[ringing[i]] && !command)
			return usage_error("--%s without a command: it is about what memtrace launches",
					   option_name(ringing[i]));
	for (size_t i = 0; i < sizeof(needing) / sizeof(needing[0]); i++)
		if (line->given[needing[i]] && o->heap == HEAP_CHOICE_NONE)
			return usage_error("--%s without a heap plane (--heap=none or --planes kernel)",
					   option_name(needing[i]));
	return 0;
}

/*
 * The whole machine has a heap plane when that is asked for, and then always a sampled one: every
 * call of every process would be more than can be told.
 */
static void choose_machine_heap(const struct line *line, struct options *o)
{
	if (line->given[OPT_COMM] || line->given[OPT_CGROUP])
		return;
	if (!o->sample_bytes && (o->heap == HEAP_CHOICE_UPROBE ||
				 (o->heap == HEAP_CHOICE_AUTO && line->given[OPT_PLANES]) ||
				 line->given[OPT_ALLOCATOR] || line->given[OPT_ALLOCATOR_SYMBOL]))
		o->sample_bytes = MACHINE_SAMPLE_BYTES;
	o->heap = o->sample_bytes ? HEAP_CHOICE_UPROBE : HEAP_CHOICE_NONE;
}

static int decide(int argc, char **argv, const struct line *line, struct options *o)
{
	int err;

	if (line->word == WORD_CHECK) {
		err = cli__decide_check(argc, argv, line, o);
		return err ? err : check_heap(line, o);
	}
	err = cli__refuse_check(line);
	if (err)
		return err;
	if (line->word == WORD_REPORT)
		return usage_error("%s: not built yet (a program of that name is run by: "
				   "memtrace -- %s)",
				   argv[line->word_index], argv[line->word_index]);
	if (line->word == WORD_DOCTOR) {
		if (optind < argc)
			return usage_error("doctor: \"%s\": takes no argument", argv[optind]);
		err = check_doctor(line);
		o->mode = MODE_DOCTOR;
		return err;
	}
	err = check_conflicts(line, argv[line->word_index]);
	if (err)
		return err;
	err = check_heap(line, o);
	if (err)
		return err;
	if (line->given['p']) {
		o->mode = MODE_ATTACH;
	} else if (line->given['a']) {
		o->mode = MODE_ALL;
		choose_machine_heap(line, o);
	} else if (line->word == WORD_COMMAND) {
		o->mode = MODE_LAUNCH;
		o->argv = argv + line->word_index;
		if (!**o->argv)
			return usage_error("the command's name is empty");
	} else {
		return usage_error("nothing to trace: give -p PID, -a, or a command");
	}
	return 0;
}

int cli__parse(int argc, char **argv, struct options *o)
{
	struct line line;
	int err;

	memset(o, 0, sizeof(*o));
	o->top = DEFAULT_TOP;
	survey(argc, argv, &line);
	err = take_options(argc, argv, o);
	if (!err && (line.word == WORD_DOCTOR || line.word == WORD_CHECK) && o->mode == MODE_NONE) {
		optind++;
		err = take_options(argc, argv, o);
	}
	if (!err && o->mode == MODE_NONE)
		err = decide(argc, argv, &line, o);
	if (!err)
		return 0;
	cli__free(o);
	if (line.word == WORD_COMMAND && !line.given['p'] && !line.given['a'])
		return EXIT_OWN_FAILURE;
	return EXIT_USAGE;
}

void cli__free(struct options *o)
{
	free(o->pids);
	o->pids = NULL;
	o->npids = 0;
	free(o->symbols);
	o->symbols = NULL;
	o->nsymbols = 0;
	free(o->check.defines);
	o->check.defines = NULL;
	o->check.ndefines = 0;
}

void cli__help(void)
{
	fputs("usage: memtrace [OPTIONS] -p PID[,PID...]     attach to running processes\n"
	      "       memtrace [OPTIONS] [--] CMD [ARG...]   launch a command under trace\n"
	      "       memtrace [OPTIONS] -a                  the whole machine, as top shows it\n"
	      "       memtrace check -c CONTRACT [--] CMD    hold a run against a contract; also -p PID\n"
	      "       memtrace doctor                        what works on this machine, and why not\n"
	      "\n"
	      "Traces brk, mmap, munmap, mremap, madvise, mprotect and page faults, exactly, and\n"
	      "the calls into the allocator (malloc, free and their family).\n"
	      "\n"
	      "  -d, --duration TIME   stop after TIME (10, 500ms, 2m); else Ctrl-C or the end\n"
	      "  -i, --interval TIME   a live table every TIME\n"
	      "  -s, --stream          one line an event, as it happens\n"
	      "      --json[=FILE]     the report as JSON, to FILE or standard output\n"
	      "      --json-sites N    ... with the first N places of each order, not all\n"
	      "  -n, --top N           rows in a table of places (10)\n"
	      "      --no-follow       leave out child processes\n"
	      "  -u, --user NAME       run the command as that user\n"
	      "      --comm NAME       with -a: processes of that name only\n"
	      "      --cgroup PATH     with -a: processes of that cgroup only\n"
	      "      --buffer SIZE     all event buffers together (64K, 16M, 1GiB)\n"
	      "      --planes kernel   leave out the allocator's calls (kernel,heap)\n"
	      "      --heap HOW        how those are seen: auto, ring, uprobe, contract, none\n"
	      "      --ring SIZE       with rings: a thread's (4M)\n"
	      "      --on-overrun HOW  with rings that are full: block the program, or drop and count\n"
	      "      --sample SIZE     one allocation in so many bytes, on the average\n"
	      "      --allocator PATH  the file that serves malloc, when it is not found\n"
	      "      --allocator-symbol NAME, OP=NAME\n"
	      "                        a further function of it (my_malloc, free=give_back)\n"
	      "\n"
	      "Behind check\n"
	      "  -c, --contract FILE   what is to hold; docs/contracts.md has the language\n"
	      "  -D, --define X=VALUE  the value of a parameter of it (threshold=1M)\n"
	      "      --strict          a rule that nothing put to the test has failed\n"
	      "      --format FORMAT   how verdicts are printed: text, json, tap, junit\n"
	      "      --json[=FILE], --tap[=FILE], --junit[=FILE]   and to files\n"
	      "      --learn[=FILE]    propose a contract from this run\n"
	      "\n"
	      "  -v, --verbose         -q, --quiet         -h, --help          -V, --version\n"
	      "\n"
	      "Examples\n"
	      "  memtrace -- ls -l                    what ls does to its memory\n"
	      "  memtrace -d 10 -p 1234               ten seconds of process 1234\n"
	      "  memtrace -s --no-follow -p 1234      each call and fault as it happens\n"
	      "  memtrace --json=out.json -- make     for scripts\n"
	      "  memtrace -a --comm postgres          every process called postgres\n"
	      "  memtrace -a --sample 512K -d 10      who allocates most on this machine\n"
	      "  memtrace check -c my.contract ./job  does the job keep to it?\n"
	      "\n"
	      "Exit: the command's own status, 125 when memtrace failed, 126 not executable, 127\n"
	      "not found; without a command 0 ok, 1 failure, 2 usage, 3 this machine cannot do it.\n"
	      "check: 0 held, 1 broken, 2 the contract or the usage is wrong, 3 no verdict.\n",
	      stdout);
}
