//! The XDP program: hands the context and the maps to `swf_filter_common::verdict` and carries out what it answers.
//!
//! Nothing is decided here. The entry points share everything: `swf_filter`; `swf_filter_trace`, which also logs each
//! judged packet; and `swf_filter_explain`, which only answers. The last two are loaded on request, so that the plain
//! program carries no trace of them.

#![no_std]
#![no_main]
#![allow(
    missing_docs,
    reason = "the entry points are documented; what the macros make of them is not"
)]

mod frame;
mod maps;
mod record;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::info;
use swf_filter_common::abi::{Explained, NONE_U32};
use swf_filter_common::fingerprint::MARK;
use swf_filter_common::image::Image;
use swf_filter_common::reason::Reason;
use swf_filter_common::verdict::{self, Verdict};

use crate::frame::Packet;
use crate::maps::{Generation, Tables};

/// Judges, counts, and drops or passes.
#[xdp(frags)]
pub fn swf_filter(context: XdpContext) -> u32 {
    action(filter(&context))
}

/// The same, and logs what was judged.
#[xdp(frags)]
pub fn swf_filter_trace(context: XdpContext) -> u32 {
    let verdict = filter(&context);
    if verdict.rule != NONE_U32 {
        info!(
            &context,
            "reason {} rule {}",
            verdict.reason.number(),
            verdict.rule
        );
    }
    action(verdict)
}

/// Judges without counting or dropping, and returns reason and rule: for `explain --live` and tests, never attached.
#[xdp(frags)]
pub fn swf_filter_explain(context: XdpContext) -> u32 {
    let packet = Packet::new(&context);
    let verdict = Generation::active().map_or(Verdict::bare(Reason::NoGeneration), |generation| {
        judge(&packet, &Image::new(generation))
    });
    Explained::of(verdict).bits()
}

#[inline(always)]
fn filter(context: &XdpContext) -> Verdict {
    let packet = Packet::new(context);
    let Some(generation) = Generation::active() else {
        let verdict = Verdict::bare(Reason::NoGeneration);
        record::count_reason(packet.length(), verdict.reason);
        return verdict;
    };
    let image = Image::new(generation);
    let verdict = judge(&packet, &image);
    let length = packet.counted_length(verdict.end);
    record::count_reason(length, verdict.reason);
    if verdict.rule != NONE_U32 {
        record::count_rule(length, &image, verdict.rule);
    }
    if verdict.reason.reported() {
        record::report(&packet, &image, verdict);
    }
    verdict
}

#[inline(always)]
fn judge(packet: &Packet, image: &Image<Generation>) -> Verdict {
    verdict::judge(packet, || packet.interface(), image, &Tables { image })
}

#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    if verdict.reason.drops() {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// The licence that the kernel reads to decide which helpers the program may call.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// By which a daemon knows that this object was built from the layouts that it was built from itself.
#[unsafe(link_section = "swf_filter_abi")]
#[unsafe(no_mangle)]
static SWF_FILTER_ABI: [u8; MARK.len()] = MARK;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No code path panics; the verifier would refuse a loop without end if one did.
    loop {}
}
