//! Access to the packet's bytes.

use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use swf_filter_common::abi::EVENT_HEAD;
use swf_filter_common::frame::Frame;

/// No header that is read starts further in: link, IPv6 and eight extension headers of 2,048 bytes at most. The bound is
/// what lets the verifier follow arithmetic on packet pointers.
const MAX_OFFSET: u32 = 0x7fff;

/// A packet in the driver's buffer.
pub struct Packet<'a> {
    context: &'a XdpContext,
}

impl<'a> Packet<'a> {
    /// The packet that the program was called for.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// Index of the interface that the packet came in on.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        let md = self.context.ctx;
        // SAFETY: the kernel passes a valid `xdp_md` to the program, and it lives as long as the call.
        unsafe { (*md).ingress_ifindex }
    }

    /// Bytes in the packet, those outside of the linear part included.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a packet has less than 4 GiB"
    )]
    pub fn length(&self) -> u32 {
        // SAFETY: the context is the one that the kernel passed, as the helper demands.
        unsafe { bpf_xdp_get_buff_len(self.context.ctx) as u32 }
    }

    /// Copies the start of the packet to `head`, as far as both go.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "128")]
    pub fn copy_head(&self, head: *mut [u8; EVENT_HEAD]) {
        let length = self.length().clamp(1, EVENT_HEAD as u32);
        // SAFETY: the context is the kernel's, and `length` is at most what `head` has room for. If the helper fails, the
        // head stays zero.
        unsafe { bpf_xdp_load_bytes(self.context.ctx, 0, head.cast(), length) };
    }

    /// Copies bytes that are not all in the linear part of the packet.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "headers are read a few bytes at a time"
    )]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: the context is the kernel's, and the destination has exactly the `N` bytes that are asked for.
        let failed = unsafe {
            bpf_xdp_load_bytes(
                self.context.ctx,
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        (failed == 0).then_some(bytes)
    }
}

impl Frame for Packet<'_> {
    #[inline(always)]
    fn array<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = core::hint::black_box(offset) & MAX_OFFSET;
        let start = core::ptr::with_exposed_provenance::<u8>(self.context.data())
            .wrapping_add(offset as usize);
        if start.wrapping_add(N).addr() > self.context.data_end() {
            return self.load(offset);
        }
        let bytes = start.cast::<[u8; N]>();
        // SAFETY: `bytes` was just checked to end within the packet, and an array of bytes needs no alignment.
        Some(unsafe { bytes.read() })
    }
}
