//! Access to the packet's bytes.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use swf_filter_common::abi::EVENT_HEAD;
use swf_filter_common::frame::Frame;
use zerocopy::FromBytes;

/// No header that is read starts further in: link, IPv6 and eight extension headers of 2,048 bytes at most. The bound is
/// what lets the verifier follow arithmetic on packet pointers.
const MAX_OFFSET: u32 = 0x7fff;

/// A packet in the driver's buffers.
pub struct Packet {
    context: *mut xdp_md,
}

impl Packet {
    /// The packet that the program was called for.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self {
            context: context.ctx,
        }
    }

    /// Index of the interface that the packet came in on.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        // SAFETY: the kernel passes a valid `xdp_md` to the program, and it lives as long as the call.
        unsafe { (*self.context).ingress_ifindex }
    }

    /// Bytes in the packet, those outside of the linear part included.
    #[inline(always)]
    pub fn length(&self) -> u64 {
        // SAFETY: the context is the one that the kernel passed, as the helper demands.
        unsafe { bpf_xdp_get_buff_len(self.context) }
    }

    /// Where the linear part of the packet starts, and where it ends.
    ///
    /// Asked for anew each time, which costs no more than keeping it: states that keep pointers into the packet are told apart by
    /// the verifier for each way to read its headers.
    #[inline(always)]
    fn linear(&self) -> (*const u8, usize) {
        // SAFETY: as for `interface`.
        let md = unsafe { &*self.context };
        // SAFETY: a reference's field is there to be read.
        let end = unsafe { (&raw const md.data_end).read_volatile() };
        // SAFETY: as above.
        let start = unsafe { (&raw const md.data).read_volatile() };
        (
            core::ptr::with_exposed_provenance(start as usize),
            end as usize,
        )
    }

    /// The same without a call, which costs as much as a third of a verdict where the kernel guards returns: a packet that by
    /// its own account ends in the linear part is as long as that.
    ///
    /// That is wrong only for a frame with bytes after its packet, and so many that they need another buffer.
    #[inline(always)]
    pub fn counted_length(&self, end: u32) -> u64 {
        let (start, last) = self.linear();
        let linear = last.wrapping_sub(start.addr());
        if (end.wrapping_sub(1) as usize) < linear {
            linear as u64
        } else {
            self.length()
        }
    }

    /// Copies the start of the packet to `head`, as far as both go.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "128")]
    pub fn copy_head(&self, head: *mut [u8; EVENT_HEAD]) {
        const MASK: u32 = EVENT_HEAD as u32 - 1;
        let last = self.length().clamp(1, EVENT_HEAD as u64) as u32 - 1;
        // The verifier does not see through the minimum; the mask must not be found needless.
        let length = (core::hint::black_box(last) & MASK) + 1;
        // SAFETY: the context is the kernel's, and `length` is at most what `head` has room for. If the helper fails, the
        // head stays zero.
        unsafe { bpf_xdp_load_bytes(self.context, 0, head.cast(), length) };
    }

    /// Copies a header that is not all in the linear part of the packet.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "headers have some ten bytes"
    )]
    fn load<T>(&self, offset: u32, header: *mut T) -> Option<()> {
        let size = size_of::<T>() as u32;
        // SAFETY: the context is the kernel's, and the destination has exactly as many bytes as are asked for.
        let failed = unsafe { bpf_xdp_load_bytes(self.context, offset, header.cast(), size) };
        (failed == 0).then_some(())
    }
}

/// Room for a header on the stack, which the verifier lets nobody read at odd places.
#[repr(align(8))]
struct Spare<T>(MaybeUninit<T>);

impl Frame for Packet {
    #[inline(always)]
    fn near<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let (start, end) = self.linear();
        let header = start.wrapping_add((offset & MAX_OFFSET) as usize);
        if header.wrapping_add(size_of::<T>()).addr() > end {
            return None;
        }
        // SAFETY: `header` points to as many bytes of the packet, as was just checked.
        Some(unsafe { header.cast::<T>().read_unaligned() })
    }

    #[inline(always)]
    fn header<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let offset = offset & MAX_OFFSET;
        let (start, end) = self.linear();
        let start = start.wrapping_add(offset as usize);
        let mut spare = Spare(MaybeUninit::<T>::uninit());
        // One place to read from, wherever the bytes are: each field is then one load.
        let header = if start.wrapping_add(size_of::<T>()).addr() > end {
            self.load(offset, spare.0.as_mut_ptr())?;
            spare.0.as_ptr()
        } else {
            start.cast()
        };
        // SAFETY: `header` points to as many bytes of the packet, as was just checked, or to what the helper has filled.
        Some(unsafe { header.read_unaligned() })
    }
}
