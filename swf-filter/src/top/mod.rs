//! `swf-filter top`: rates of both gates, as they change.
//!
//! `model` makes rates of readings, `view` knows what was chosen, `draw` draws, and here is the rest: asking, waiting, and the terminal, which is
//! given back as it was however this ends. It asks what anybody may ask, and changes nothing.

mod draw;
mod model;
mod view;

use std::io::{self, IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use self::model::{Events, Gate, Model, Reading};
use self::view::{Flow, Next, View};
use crate::control::api::{EventReport, Status};
use crate::control::client::{self, AskError, Lines};
use crate::listener::status::ListenerStatus;

pub(crate) use self::model::{Rate, Rates, ReasonRate, in_a_second};

/// The busiest hosts and rules that are asked for. [`draw`] says how many that are.
const BUSIEST: &str = "/v1/rules?busiest=200";
/// How long an answer may take. The daemon may be at a large reload.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long keys are waited for before it is seen whether anybody wants them.
const GLANCE: Duration = Duration::from_millis(100);

/// Whom to ask.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    pub(crate) daemon: PathBuf,
    pub(crate) listener: PathBuf,
}

/// The rates of one interval.
pub(crate) async fn once(sockets: Sockets, interval: Duration) -> Rates {
    let mut watcher = Watcher::new(sockets);
    let mut model = Model::default();
    let first = watcher.read(Instant::now()).await;
    model.take(first);
    let second = watcher.read(Instant::now() + interval).await;
    model.take(second)
}

/// Draws until it is told to end.
pub(crate) async fn watch(sockets: Sockets, interval: Duration) -> Result<()> {
    ensure!(
        io::stdin().is_terminal() && stdout().is_terminal(),
        "`top` draws on a terminal, and this is none; `top --once` prints the rates of one interval"
    );
    let mut ends = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
    ] {
        ends.push(signal(kind).context("cannot wait for signals")?);
    }
    let [mut terminate, mut hangup, mut interrupt] =
        <[_; 3]>::try_from(ends).map_err(|_| anyhow::anyhow!("three signals are waited for"))?;
    let (sender, mut readings) = mpsc::channel(1);
    tokio::spawn(follow(Watcher::new(sockets), interval, sender));
    let mut screen = Screen::open()?;
    let mut keys = keys();
    let (mut model, mut view, mut rates) = (Model::default(), View::default(), None);
    loop {
        screen.draw(rates.as_ref(), &mut view)?;
        tokio::select! {
            Some(reading) = readings.recv() => {
                let new = model.take(reading);
                if view.flow == Flow::Live {
                    rates = Some(new);
                }
            }
            event = keys.recv() => match event {
                Some(Ok(Event::Key(key))) => if view.press(key) == Next::Quit {
                    return Ok(());
                },
                // A new size is drawn, and all else is not asked for.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("the terminal is gone"),
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// The terminal, which is given back when this is dropped. A panic gives it back before it says anything.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| {
            // Some of it may have been done.
            let _nothing_more_to_do = ratatui::try_restore();
        });
        Ok(Self {
            terminal: terminal.context("cannot draw on this terminal")?,
        })
    }

    /// Only what has changed is written, and terminals that can are told to show it at once.
    fn draw(&mut self, rates: Option<&Rates>, view: &mut View) -> Result<()> {
        let mut write = || -> io::Result<()> {
            execute!(stdout(), BeginSynchronizedUpdate)?;
            self.terminal.draw(|frame| draw::draw(frame, rates, view))?;
            execute!(stdout(), EndSynchronizedUpdate)
        };
        write().context("cannot draw on this terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _it_may_be_gone = self.terminal.show_cursor();
        let _it_may_be_gone = ratatui::try_restore();
    }
}

/// Keys as they are pressed, from a thread of its own: reading them blocks.
fn keys() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(GLANCE) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Reads at each interval, for as long as anybody wants to know.
async fn follow(mut watcher: Watcher, interval: Duration, sender: mpsc::Sender<Reading>) {
    let mut next = Instant::now();
    loop {
        let reading = watcher.read(next).await;
        if sender.send(reading).await.is_err() {
            return;
        }
        // What took too long is not caught up with.
        next = (next + interval).max(Instant::now());
    }
}

/// Asks both gates, and follows events in between.
struct Watcher {
    sockets: Sockets,
    start: Instant,
    lines: Option<Lines>,
}

impl Watcher {
    fn new(sockets: Sockets) -> Self {
        Self {
            sockets,
            start: Instant::now(),
            lines: None,
        }
    }

    /// Waits until a time, and reads. A gate that does not answer is asked again with the next reading.
    async fn read(&mut self, until: Instant) -> Reading {
        let events = self.events(until).await;
        let (gate, listener) = tokio::join!(self.gate(), self.listener());
        if gate.is_err() {
            self.lines = None;
        } else if self.lines.is_none() {
            let follow = client::follow(&self.sockets.daemon, "/v1/events");
            self.lines = timeout(PATIENCE, follow).await.ok().and_then(Result::ok);
        }
        Reading {
            at: self.start.elapsed(),
            gate,
            listener,
            events,
        }
    }

    async fn events(&mut self, until: Instant) -> Events {
        let mut events = Events::default();
        loop {
            let Some(lines) = &mut self.lines else {
                sleep_until(until).await;
                return events;
            };
            tokio::select! {
                biased;
                () = sleep_until(until) => return events,
                line = lines.next::<EventReport>() => match line {
                    Ok(event) => events.add(event),
                    Err(_) => self.lines = None,
                },
            }
        }
    }

    async fn gate(&self) -> Result<Gate, String> {
        let socket = &self.sockets.daemon;
        let status: Status = ask(socket, "/v1/status").await?;
        Ok(Gate {
            status,
            // A daemon of another version, or one between two policies, has nothing to say here.
            busiest: ask(socket, BUSIEST).await.ok(),
        })
    }

    async fn listener(&self) -> Result<ListenerStatus, String> {
        ask(&self.sockets.listener, "/v1/status").await
    }
}

async fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, String> {
    let asked = timeout(PATIENCE, client::ask(socket, Method::GET, path, &())).await;
    let bytes = match asked {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(AskError::NoDaemon { path, error })) => {
            return Err(format!("{}: {error}", path.display()));
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
