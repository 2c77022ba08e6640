//! Counts what was decided, and reports drops.

use core::hint::black_box;

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use swf_filter_common::abi::{Count, EVENT_HEAD, Event};
use swf_filter_common::image::{Image, Words, header};
use swf_filter_common::reason::Reason;
use swf_filter_common::verdict::Verdict;

use crate::frame::Packet;
use crate::maps::{EVENT_BUDGET, EVENTS, Generation, REASONS, rule_counter};

/// Adds a packet of so many bytes to its reason's counter.
#[inline(always)]
pub fn count_reason(length: u64, reason: Reason) {
    if let Some(count) = REASONS.get_ptr_mut(u32::from(reason.number())) {
        add(count, length);
    }
}

/// Adds a packet of so many bytes to its rule's counter.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number of rules is the low 32 bits"
)]
pub fn count_rule(length: u64, image: &Image<Generation>, rule: u32) {
    let rules_of_a_cpu = image.words().word(header::COUNTERS) as u32;
    // SAFETY: the helper takes nothing and touches no memory of the program.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let place = cpu * rules_of_a_cpu + rule;
    if let Some(count) = rule_counter(image.options().slot, place) {
        add(count, length);
    }
}

#[inline(always)]
fn add(count: *mut Count, length: u64) {
    // SAFETY: the pointer comes from a map lookup that found an element, which stays while the program runs. The element
    // belongs to this CPU, and XDP programs do not interrupt each other on one CPU.
    let count = unsafe { &mut *count };
    count.packets += 1;
    count.bytes += length;
}

/// Sends an event, if the budget and the ring buffer have room for it.
///
/// What was not sent needs no counter of its own: it is what the reasons count less what user space received.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a packet has less than 4 GiB"
)]
pub fn report(packet: &Packet, image: &Image<Generation>, verdict: Verdict) {
    if !take_from_budget() {
        return;
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        return;
    };
    // Zeroes that the compiler knows would be a call of `memset`, a function of its own; and in a program with functions, kernels such
    // as 6.1 take each number for one that matters, and walk over a million instructions in place of some 200,000.
    entry.write(Event {
        generation: image.words().word(header::GENERATION),
        rule: verdict.rule,
        interface: packet.interface(),
        length: packet.length() as u32,
        reason: verdict.reason.number(),
        reserved: [0; 3],
        head: zerocopy::transmute!([black_box(0_u64); EVENT_HEAD / 8]),
    });
    let event = entry.as_mut_ptr();
    // SAFETY: `event` points to the reserved entry, which has room for the whole `Event`.
    let head = unsafe { &raw mut (*event).head };
    packet.copy_head(head);
    entry.submit(0);
}

#[inline(always)]
fn take_from_budget() -> bool {
    // Atomics are not to be had on this target, but volatile accesses of a word are as good as relaxed ones.
    let budget = EVENT_BUDGET.as_ptr();
    // SAFETY: the variable is there and aligned as long as the program.
    let left = unsafe { budget.read_volatile() };
    // Only read once it is used up, so that a flood does not pass the cache line around.
    if left <= 0 {
        return false;
    }
    // CPUs that race here can take the same token twice; the daemon, which reads the ring buffer, holds the exact limit.
    // SAFETY: as above.
    unsafe { budget.write_volatile(left - 1) };
    true
}
