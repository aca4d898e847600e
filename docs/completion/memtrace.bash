# bash completion for memtrace -*- shell-script -*-
# SPDX-License-Identifier: MIT

# Process numbers behind what stands before the last comma.
_memtrace_pids() # typed
{
	local head='' pid
	local -a pids=()

	[[ $1 == *,* ]] && head=${1%,*},
	for pid in /proc/[0-9]*/; do
		pid=${pid%/}
		# Kernel threads have no program.
		[[ -e $pid/exe || ! -O $pid ]] && pids+=("$head${pid##*/}")
	done
	mapfile -t COMPREPLY < <(compgen -W "${pids[*]}" -- "$1")
}

_memtrace_comms() # typed
{
	local file name

	while read -r name; do
		[[ $name == "$1"* ]] && COMPREPLY+=("$(printf %q "$name")")
	done < <(for file in /proc/[0-9]*/comm; do cat "$file"; done 2>/dev/null | sort -u)
	return 0
}

_memtrace_cgroups() # typed
{
	local root typed=$1

	if [[ -z $typed ]]; then
		root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts 2>/dev/null)
		typed=${root:+$root/}
	fi
	compopt -o filenames -o nospace
	mapfile -t COMPREPLY < <(compgen -d -- "$typed")
}

_memtrace_files() # typed
{
	compopt -o filenames
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# The value of an option; fails when that takes none.
_memtrace_value() # option typed
{
	case $1 in
	-p | --pid) _memtrace_pids "$2" ;;
	-u | --user) mapfile -t COMPREPLY < <(compgen -u -- "$2") ;;
	-d | --duration) mapfile -t COMPREPLY < <(compgen -W '1 10 1m 10m 1h' -- "$2") ;;
	-i | --interval) mapfile -t COMPREPLY < <(compgen -W '500ms 1 5 10' -- "$2") ;;
	-n | --top | --json-sites) mapfile -t COMPREPLY < <(compgen -W '5 10 20 50' -- "$2") ;;
	--buffer) mapfile -t COMPREPLY < <(compgen -W '4M 16M 64M 256M 1GiB' -- "$2") ;;
	--planes) mapfile -t COMPREPLY < <(compgen -W 'kernel kernel,heap' -- "$2") ;;
	--sample) mapfile -t COMPREPLY < <(compgen -W '64K 512K 4M' -- "$2") ;;
	--allocator) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
	--heap) mapfile -t COMPREPLY < <(compgen -W 'auto ring uprobe contract none' -- "$2") ;;
	--ring) mapfile -t COMPREPLY < <(compgen -W '256K 1M 4M 16M' -- "$2") ;;
	--on-overrun) mapfile -t COMPREPLY < <(compgen -W 'block drop' -- "$2") ;;
	-c | --contract) _memtrace_files "$2" ;;
	--format) mapfile -t COMPREPLY < <(compgen -W 'text json tap junit' -- "$2") ;;
	--comm) _memtrace_comms "$2" ;;
	--cgroup) _memtrace_cgroups "$2" ;;
	*) return 1 ;;
	esac
}

# A command and its own arguments, from word $1 on.
_memtrace_command()
{
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif ((COMP_CWORD == $1)); then
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -c -- "$2"; compgen -f -- "$2")
	else
		_memtrace_files "$2"
	fi
}

_memtrace()
{
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} word equals=''
	local options='--pid --all --duration --interval --stream --json --json-sites --top --no-follow --user
		--comm --cgroup --buffer --planes --heap --ring --on-overrun --sample --allocator
		--allocator-symbol --verbose --quiet --help --version'
	local letters='-p -a -d -i -s -n -u -v -q -h -V --'
	local -i i checking=0

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		check)
			((checking++)) && _memtrace_command "$i" "$current" && return
			options='--contract --define --strict --format --json --tap --junit --learn --pid
				--duration --user --no-follow --buffer --heap --ring --on-overrun
				--allocator --allocator-symbol --verbose --quiet --help'
			letters='-c -D -p -d -u -v -q -h --'
			;;
		--)
			_memtrace_command $((i + 1)) "$current"
			return
			;;
		doctor)
			mapfile -t COMPREPLY < <(compgen -W '--json --verbose --quiet' -- "$current")
			if [[ $before == --json && $current == = ]]; then
				_memtrace_files ''
			elif [[ $before == = && ${COMP_WORDS[COMP_CWORD - 2]} == --json ]]; then
				_memtrace_files "$current"
			fi
			return
			;;
		--json | --tap | --junit | --learn)
			# --json=FILE is three words to readline.
			[[ ${COMP_WORDS[i + 1]} == = ]] && i+=2
			;;
		-[pdiuncD] | --contract | --define | --format | --pid | --duration | --interval | --user | --top | --json-sites | --comm | --cgroup | \
			--buffer | --planes | --heap | --ring | --on-overrun | --sample | --allocator | \
			--allocator-symbol)
			[[ ${COMP_WORDS[i + 1]} == = ]] && i+=1
			i+=1
			;;
		-*) ;;
		*)
			_memtrace_command "$i" "$current"
			return
			;;
		esac
	done

	if [[ $before == = ]]; then
		before=${COMP_WORDS[COMP_CWORD - 2]} equals=1
	elif [[ $current == = ]]; then
		current='' equals=1
	fi
	if [[ $before =~ ^--(json|tap|junit|learn)$ && -n $equals ]]; then
		_memtrace_files "$current"
	elif _memtrace_value "$before" "$current"; then
		:
	elif [[ $current == --* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
	elif [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$letters" -- "$current")
	else
		mapfile -t COMPREPLY < <(compgen -W 'check doctor' -- "$current"; compgen -c -- "$current")
		[[ -n $current ]] || COMPREPLY=(check doctor -p -a --)
	fi
}

complete -F _memtrace memtrace
