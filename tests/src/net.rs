//! TCP and UDP inside a namespace: clients that give up in time, and servers that answer with what they hear.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::netns::{Door, Namespace};

/// Opens a TCP connection from inside a namespace.
///
/// Fails with `TimedOut` if nothing comes back within `deadline`. The stream reads and writes under the same deadline.
pub fn connect(
    namespace: &Namespace,
    address: SocketAddr,
    deadline: Duration,
) -> io::Result<TcpStream> {
    namespace.run(|| {
        let stream = TcpStream::connect_timeout(&address, deadline)?;
        stream.set_read_timeout(Some(deadline))?;
        stream.set_write_timeout(Some(deadline))?;
        Ok(stream)
    })
}

/// Opens a TCP listener inside a namespace.
pub fn listen(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpListener> {
    namespace.run(|| TcpListener::bind(address))
}

/// Opens a UDP socket inside a namespace.
pub fn bind_udp(namespace: &Namespace, address: SocketAddr) -> io::Result<UdpSocket> {
    namespace.run(|| UdpSocket::bind(address))
}

/// Receives a datagram, under the socket's read timeout.
///
/// A socket with a timeout is interrupted where one without would go on waiting, as when the machine is paused.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Sends a text to an echo server over TCP and checks that it comes back.
pub fn echo_tcp(namespace: &Namespace, address: SocketAddr, deadline: Duration) -> Result<()> {
    let mut stream = connect(namespace, address, deadline)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.write_all(TEXT)?;
    let mut answer = [0; TEXT.len()];
    stream.read_exact(&mut answer)?;
    ensure!(answer == TEXT, "another answer came from {address}");
    Ok(())
}

/// Sends a text to an echo server over UDP, from any port, and checks that it comes back.
pub fn echo_udp(namespace: &Namespace, address: SocketAddr, deadline: Duration) -> Result<()> {
    let socket = bind_udp(namespace, any_port_for(address))?;
    socket.set_read_timeout(Some(deadline))?;
    socket.connect(address)?;
    socket.send(TEXT)?;
    let mut answer = [0; 2 * TEXT.len()];
    let length =
        receive(&socket, &mut answer).with_context(|| format!("no answer from {address}"))?;
    ensure!(
        answer[..length] == *TEXT,
        "another answer came from {address}"
    );
    Ok(())
}

/// A server inside a namespace that sends back what it hears, until it is dropped.
pub struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Echo {
    /// Serves TCP; port 0 takes any free one.
    pub fn tcp(namespace: &Namespace, address: SocketAddr) -> io::Result<Self> {
        let listener = listen(namespace, address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::spawn(move || serve_tcp(&listener, &flag));
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
            wake: wake_by_connecting(namespace.door(), address),
        })
    }

    /// Serves UDP; port 0 takes any free one.
    pub fn udp(namespace: &Namespace, address: SocketAddr) -> io::Result<Self> {
        let socket = bind_udp(namespace, address)?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::spawn(move || serve_udp(&socket, &flag));
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
            wake: wake_by_sending(namespace.door(), address),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Echo({})", self.address)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        (self.wake)();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            eprintln!("the echo server at {} has panicked", self.address);
        }
    }
}

/// From within the namespace this goes over `lo`, past any filter on an interface.
fn wake_by_connecting(door: Door, address: SocketAddr) -> Box<dyn Fn() + Send + Sync> {
    Box::new(move || {
        let woken = door.run(|| TcpStream::connect_timeout(&address, PATIENCE));
        if let Err(error) = woken {
            eprintln!("cannot wake the echo server at {address}: {error}");
        }
    })
}

fn wake_by_sending(door: Door, address: SocketAddr) -> Box<dyn Fn() + Send + Sync> {
    Box::new(move || {
        let woken = door.run(|| UdpSocket::bind(any_port_for(address))?.send_to(&[], address));
        if let Err(error) = woken {
            eprintln!("cannot wake the echo server at {address}: {error}");
        }
    })
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    let streams = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            if let Ok(copy) = stream.try_clone() {
                lock(&streams).push(copy);
            }
            scope.spawn(move || send_back(stream));
        }
        for stream in lock(&streams).iter() {
            // It fails where the other side has gone first.
            drop(stream.shutdown(Shutdown::Both));
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send_back(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_535];
    while !stop.load(Ordering::SeqCst) {
        // An error is that of an earlier answer, which nobody was there to take.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..length], from));
        }
    }
}

fn any_port_for(address: SocketAddr) -> SocketAddr {
    if address.is_ipv4() {
        SocketAddr::from(([0; 4], 0))
    } else {
        SocketAddr::from(([0_u16; 8], 0))
    }
}

const TEXT: &[u8] = b"is anybody there";
const PATIENCE: Duration = Duration::from_secs(2);
