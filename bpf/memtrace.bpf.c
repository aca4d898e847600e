// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The kernel side of memtrace: one object, of which the collector loads the programs a mode needs.
 *
 *   exact mode    call_enter call_exit         calls.bpf.h    brk .. mprotect
 *                 fault_user fault_kernel      faults.bpf.h   a fault begins
 *                 fault_minor fault_major                     it has been served
 *                 task_fork task_exec task_exit tasks.bpf.h
 *                 task_rename
 *                 mark_threads list_threads                   iterators
 *   heap plane    heap_enter heap_leave         heap.bpf.h     the malloc family
 *                 heap_escape heap_signal                     what may cut a call short
 *                 heap_contract              contract.bpf.h  probes of the target's own
 *   ring plane    offer_segment                 offer.bpf.h
 *   machine mode  machine_*                    machine.bpf.h  counts by process
 */
#include "bpf/state.bpf.h"
#include "bpf/filter.bpf.h"
#include "bpf/stack.bpf.h"
#include "bpf/files.bpf.h"
#include "bpf/heap.bpf.h"
#include "bpf/contract.bpf.h"
#include "bpf/calls.bpf.h"
#include "bpf/offer.bpf.h"
#include "bpf/faults.bpf.h"
#include "bpf/tasks.bpf.h"
#include "bpf/machine.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
