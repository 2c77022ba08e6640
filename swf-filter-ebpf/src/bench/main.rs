//! Programs for benches only: they make each run meet another packet, as in life, so that table accesses are random.
//!
//! A test run shows a program the same frame again and again. An entry point here writes the next source, host and VLAN of a
//! stream that user space made into the frame, and then calls what is in [`NEXT`], which is the packet gate as its daemon loaded
//! it, or a bare program. What writing costs is measured by itself, with the bare program behind it. Nothing here is ever part of
//! the filter.

#![no_std]
#![no_main]
#![allow(
    missing_docs,
    reason = "the entry points are documented; what the macros make of them is not"
)]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// Words of the stream, a power of two: 32 MiB.
const WORDS: usize = 1 << 22;
/// Words of a packet: IPv4 needs one, IPv6 three.
const OF_V4: u32 = 1;
const OF_V6: u32 = 4;

/// Bytes before the network header, without and with a VLAN tag (IEEE 802.1Q).
const PLAIN: usize = 14;
const TAGGED: usize = 18;

/// What packets are made of. For IPv4 a word holds the source, the last two bytes of the destination, and the VLAN or the
/// header's checksum; for IPv6 two words hold the source, and a third one the last two bytes of the destination and the VLAN.
#[btf_map]
static STREAM: Array<[u64; WORDS], 1> = Array::new();

/// Where in the stream the next packet begins.
#[btf_map]
static POSITION: Array<u64, 1> = Array::new();

/// The program that is measured.
#[btf_map]
static NEXT: ProgramArray<1> = ProgramArray::new();

/// Drops: what nothing that drops can be cheaper than.
#[xdp(frags)]
pub fn bare_drop(_context: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// The next IPv4 packet.
#[xdp(frags)]
pub fn stream_v4(context: XdpContext) -> u32 {
    next_v4::<PLAIN>(&context).map_or(xdp_action::XDP_ABORTED, |_| call(&context))
}

/// The next IPv4 packet, in another VLAN.
#[xdp(frags)]
pub fn stream_v4_tagged(context: XdpContext) -> u32 {
    next_v4::<TAGGED>(&context)
        .and_then(|[high, low]| write::<2>(&context, PLAIN, [high, low]))
        .map_or(xdp_action::XDP_ABORTED, |()| call(&context))
}

/// The next IPv6 packet.
#[xdp(frags)]
pub fn stream_v6(context: XdpContext) -> u32 {
    next_v6::<PLAIN>(&context).map_or(xdp_action::XDP_ABORTED, |_| call(&context))
}

/// The next IPv6 packet, in another VLAN.
#[xdp(frags)]
pub fn stream_v6_tagged(context: XdpContext) -> u32 {
    next_v6::<TAGGED>(&context)
        .and_then(|[high, low]| write::<2>(&context, PLAIN, [high, low]))
        .map_or(xdp_action::XDP_ABORTED, |()| call(&context))
}

/// The next IPv4 packet, sent out again: run with live frames, this is a generator.
#[xdp]
pub fn send_v4(context: XdpContext) -> u32 {
    // RFC 791 has the checksum at byte 10 of the header.
    next_v4::<PLAIN>(&context)
        .and_then(|checksum| write::<2>(&context, PLAIN + 10, checksum))
        .map_or(xdp_action::XDP_ABORTED, |()| xdp_action::XDP_TX)
}

/// Writes source and destination (bytes 12 and 16 of the header, RFC 791), and gives what else the word holds.
///
/// Addresses are written as wide as the filter reads them: else a read waits until several writes have left the processor, for
/// which there is no cause with a packet from a device.
#[inline(always)]
fn next_v4<const NETWORK: usize>(context: &XdpContext) -> Option<[u8; 2]> {
    let at = advance(OF_V4)?;
    let [a, b, c, d, high, low, rest @ ..] = word(at)?;
    write(context, NETWORK + 12, [a, b, c, d])?;
    // As a number: the compiler writes an array of bytes that it puts together in pieces.
    let destination = u32::from_be_bytes([198, 18, high, low]).to_be();
    write(context, NETWORK + 16, destination.to_ne_bytes())?;
    Some(rest)
}

/// The same for IPv6 (bytes 8 and 32, RFC 8200).
#[inline(always)]
fn next_v6<const NETWORK: usize>(context: &XdpContext) -> Option<[u8; 2]> {
    let at = advance(OF_V6)?;
    write(context, NETWORK + 8, word(at)?)?;
    write(context, NETWORK + 16, word(at + 1)?)?;
    let [high, low, vlan_high, vlan_low, ..] = word(at + 2)?;
    let low = u64::from(u16::from_be_bytes([high, low])).to_be();
    write(context, NETWORK + 32, low.to_ne_bytes())?;
    Some([vlan_high, vlan_low])
}

/// Takes the words of one packet.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "it is masked wherever it is used"
)]
fn advance(words: u32) -> Option<u32> {
    let position = POSITION.get_ptr_mut(0)?;
    // SAFETY: the element stays while the program runs, and benches run on one CPU at a time.
    let position = unsafe { &mut *position };
    let at = *position as u32;
    *position += u64::from(words);
    Some(at)
}

#[inline(always)]
fn word(index: u32) -> Option<[u8; 8]> {
    let stream = STREAM.get_ptr(0)?.cast::<u64>();
    let index = core::hint::black_box(index) as usize & (WORDS - 1);
    // SAFETY: the mask keeps the index within the value's `WORDS` words.
    let word = unsafe { stream.add(index) };
    // SAFETY: the value is aligned to eight bytes and stays while the program runs; nobody writes it meanwhile.
    Some(unsafe { word.read() }.to_ne_bytes())
}

/// Writes bytes into the frame; none if it is too short.
#[inline(always)]
fn write<const N: usize>(context: &XdpContext, offset: usize, bytes: [u8; N]) -> Option<()> {
    let start = core::ptr::with_exposed_provenance_mut::<u8>(context.data()).wrapping_add(offset);
    if start.wrapping_add(N).addr() > context.data_end() {
        return None;
    }
    // SAFETY: the bytes were just checked to be within the packet, and an array of bytes needs no alignment.
    unsafe { start.cast::<[u8; N]>().write(bytes) };
    Some(())
}

#[inline(always)]
fn call(context: &XdpContext) -> u32 {
    // SAFETY: nothing here has to be dropped, and control does not come back.
    unsafe { NEXT.tail_call(context, 0) };
    xdp_action::XDP_ABORTED
}

/// The licence that the kernel reads to decide which helpers the program may call.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No code path panics; the verifier would refuse a loop without end if one did.
    loop {}
}
