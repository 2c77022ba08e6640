//! Frames to and from an emulated machine: its network card is a socket on loopback, and a datagram is a frame.
//!
//! What is sent are first packets of TCP connections. A kernel without a listening socket answers them with a reset, so an answer
//! says that a packet got through, and nothing has to run in the machine for it. Where something listens, the connection is reset
//! from here: else its half would be answered again and again.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Sends for as long as it lives, and counts answers.
pub(crate) struct Traffic {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
    /// What qemu is told of the network card.
    pub(crate) card: String,
}

/// Packets of the two sources.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    /// The last answer to the allowed source, and the longest time between two since the last look.
    gap: Mutex<(Option<Instant>, Duration)>,
}

/// Answers so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
}

impl Traffic {
    pub(crate) fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        // Free a moment ago; qemu says so if it is not any more.
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let own = socket.local_addr()?.port();
        socket.connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(PAUSE))?;
        let counts = Arc::new(Counts::default());
        let threads = vec![
            thread::spawn({
                let (socket, counts) = (socket.try_clone()?, Arc::clone(&counts));
                move || send(&socket, &counts)
            }),
            thread::spawn({
                let counts = Arc::clone(&counts);
                move || receive(&socket, &counts)
            }),
        ];
        Ok(Self {
            counts,
            threads,
            card: format!("socket,id=net,udp=127.0.0.1:{own},localaddr=127.0.0.1:{port}"),
        })
    }

    /// Packets that were sent from the denied source, and as many from the other.
    pub(crate) fn sent(&self) -> u64 {
        self.counts.sent.load(Relaxed)
    }

    pub(crate) fn answers(&self) -> Answers {
        Answers {
            allowed: self.counts.allowed.load(Relaxed),
            denied: self.counts.denied.load(Relaxed),
        }
    }

    /// The longest time without an answer to the allowed source, since this was asked last.
    pub(crate) fn gap(&self) -> Duration {
        let mut gap = self
            .counts
            .gap
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut gap.1)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.counts.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked said so.
            let _panicked = thread.join();
        }
    }
}

fn send(socket: &UdpSocket, counts: &Counts) {
    let mut port = FIRST_PORT;
    while !counts.stop.load(Relaxed) {
        for source in [ALLOWED, DENIED] {
            // Refused while the machine is not there.
            let _nobody_there = socket.send(&packet(source, port, FIRST, SYN));
        }
        counts.sent.fetch_add(1, Relaxed);
        port = if port == u16::MAX {
            FIRST_PORT
        } else {
            port + 1
        };
        thread::sleep(PAUSE);
    }
}

fn receive(socket: &UdpSocket, counts: &Counts) {
    let mut frame = [0; 2048];
    while !counts.stop.load(Relaxed) {
        let Ok(length) = socket.recv(&mut frame) else {
            continue;
        };
        let frame = frame.get(..length).unwrap_or_default();
        let answered = answered(frame);
        if let (Some(source), Some((port, next))) = (answered, opened(frame)) {
            let _nobody_there = socket.send(&packet(source, port, next, RST));
        }
        match answered {
            Some(ALLOWED) => {
                counts.allowed.fetch_add(1, Relaxed);
                let mut gap = counts.gap.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                if let Some(last) = gap.0.replace(now) {
                    gap.1 = gap.1.max(now - last);
                }
            }
            Some(DENIED) => {
                counts.denied.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }
}

/// Whom a TCP packet from the machine goes to.
fn answered(frame: &[u8]) -> Option<Ipv4Addr> {
    let packet = frame
        .strip_prefix(&[ROUTER, MACHINE].concat()[..])?
        .strip_prefix(&IPV4)?;
    let is_tcp = packet.get(9) == Some(&TCP);
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_tcp.then_some(Ipv4Addr::from(to))
}

/// The port and the next sequence number of a connection that the machine takes.
fn opened(frame: &[u8]) -> Option<(u16, [u8; 4])> {
    let tcp = frame.get(34..)?;
    let is_taken = *tcp.get(13)? == SYN | ACK;
    let port = u16::from_be_bytes(tcp.get(2..4)?.try_into().ok()?);
    let next = tcp.get(8..12)?.try_into().ok()?;
    is_taken.then_some((port, next))
}

/// An Ethernet frame with a packet of a TCP connection, without data (RFC 791, RFC 9293).
fn packet(source: Ipv4Addr, port: u16, sequence: [u8; 4], flags: u8) -> Vec<u8> {
    let addresses = [source.octets(), HOST.octets()].concat();
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    ip.extend(&addresses);
    let sum = checksum(&ip);
    ip.splice(10..12, sum);
    let mut tcp = Vec::from(port.to_be_bytes());
    tcp.extend(HTTPS.to_be_bytes());
    tcp.extend(sequence);
    // No acknowledgement, a header of five words, and the window.
    tcp.extend([0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [&addresses[..], &[0, TCP, 0, 20], &tcp].concat();
    tcp.splice(16..18, checksum(&pseudo));
    [&MACHINE[..], &ROUTER, &IPV4, &ip, &tcp].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// The protected host.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// A source that its policy lets in.
pub(crate) const ALLOWED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// One that it does not.
pub(crate) const DENIED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

const MACHINE: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ROUTER: [u8; 6] = [0x52, 0x54, 0, 0xaa, 0xbb, 0xcc];
const IPV4: [u8; 2] = [0x08, 0];
const TCP: u8 = 6;
const HTTPS: u16 = 443;
const FIRST_PORT: u16 = 1024;
const FIRST: [u8; 4] = [0, 0, 0, 1];
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Between two packets of a source.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_a_packet_add_up() {
        let frame = packet(DENIED, FIRST_PORT, FIRST, SYN);
        // A sum over what has its own checksum in it is zero (RFC 1071).
        assert_eq!(checksum(&frame[14..34]), [0, 0]);
        let pseudo = [&frame[26..34], &[0, TCP, 0, 20], &frame[34..]].concat();
        assert_eq!(checksum(&pseudo), [0, 0]);
    }

    #[test]
    fn only_tcp_from_the_machine_is_an_answer() {
        let mut frame = packet(ALLOWED, FIRST_PORT, FIRST, SYN);
        assert_eq!(answered(&frame), None);
        frame.splice(0..12, [ROUTER, MACHINE].concat());
        assert_eq!(answered(&frame), Some(HOST));
        frame[14 + 9] = 17;
        assert_eq!(answered(&frame), None);
    }

    #[test]
    fn only_a_connection_that_is_taken_is_reset() {
        let port = HTTPS.to_be_bytes();
        assert_eq!(opened(&packet(ALLOWED, HTTPS, FIRST, SYN)), None);
        assert_eq!(opened(&packet(ALLOWED, HTTPS, FIRST, RST | ACK)), None);
        let taken = packet(ALLOWED, FIRST_PORT, FIRST, SYN | ACK);
        assert_eq!(opened(&taken), Some((u16::from_be_bytes(port), [0; 4])));
    }
}
