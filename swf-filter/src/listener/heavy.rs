//! Requests that take long to judge, apart from all others.
//!
//! A runtime thread serves thousands of connections, so nothing may hold one for long. Large bodies, and requests that
//! need more work than most, are judged by threads of their own. These give way to all others of the machine (nice(2)),
//! and each client has its turn: one that sends a thousand large requests waits for its own, and not the others for them.
//! `spawn_blocking` was rejected: its threads have no priority of their own and no turns.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::crowd::Client;

/// Threads that work on requests in the order of clients' turns.
pub(super) struct Heavy(Arc<Queue>);

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    limits: Limits,
}

/// How much may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Requests of one client.
    pub(super) of_one: usize,
    /// Before a request is given up.
    pub(super) patience: Duration,
}

#[derive(Default)]
struct Waiting {
    /// What each client waits for. None is empty.
    jobs: HashMap<Client, VecDeque<Job>>,
    /// Clients that wait, in the order of their turns.
    turns: VecDeque<Client>,
    is_closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// Of the priorities from -20 to 19: a tenth of the weight of a thread that has none.
const NICE: i32 = 10;

impl Heavy {
    /// Starts half as many threads as there are processors, so that half are left for all else.
    pub(super) fn start(limits: Limits) -> std::io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::start_threads((processors / 2).max(1), limits)
    }

    fn start_threads(threads: usize, limits: Limits) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            limits,
        });
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("swf-heavy".to_owned())
                .spawn(move || queue.work())?;
        }
        Ok(Self(queue))
    }

    /// Does some work when it is the client's turn. If too much waits already, or for too long, what the work was to take is
    /// given back. If the caller stops waiting, the work is done or not.
    pub(super) async fn run<S, T>(
        &self,
        client: Client,
        state: S,
        work: impl FnOnce(S) -> T + Send + 'static,
    ) -> Result<T, S>
    where
        S: Send + 'static,
        T: Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        // Whoever is first takes it: a thread that begins, or the caller that has waited for long enough.
        let waiting = Arc::new(Mutex::new(Some(state)));
        let own = Arc::clone(&waiting);
        let run = move || {
            if let Some(state) = take(&own) {
                let _nobody_waits = sender.send(catch_unwind(AssertUnwindSafe(|| work(state))));
            }
        };
        if !self.0.push(client, Box::new(run)) {
            return take(&waiting).map_or_else(never, Err);
        }
        let mut answer = pin!(answer);
        let answered = match timeout(self.0.limits.patience, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => match take(&waiting) {
                Some(state) => return Err(state),
                None => answer.await,
            },
        };
        match answered {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => never(),
        }
    }
}

fn take<S>(waiting: &Mutex<Option<S>>) -> Option<S> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.take()
}

fn never<T>() -> T {
    unreachable!("a job is begun once, and answered then")
}

impl Drop for Heavy {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job last in its client's queue, if there is room.
    fn push(&self, client: Client, job: Job) -> bool {
        let mut waiting = self.lock();
        let own = waiting.jobs.entry(client.clone()).or_default();
        if own.len() >= self.limits.of_one {
            return false;
        }
        own.push_back(job);
        if own.len() == 1 {
            waiting.turns.push_back(client);
        }
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// Works until there is nobody left who could want it.
    fn work(&self) {
        // Without it, the threads compete with all others, and work.
        let _as_before = setpriority_process(None, NICE);
        while let Some(job) = self.next() {
            job();
        }
    }

    /// Waits for the next job; none when there will be none.
    fn next(&self) -> Option<Job> {
        let waiting = self.lock();
        let waiting = self.changed.wait_while(waiting, |waiting| {
            waiting.turns.is_empty() && !waiting.is_closed
        });
        waiting.unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Waiting {
    /// The first job of the client whose turn it is. The client's next turn is after all others'.
    fn take(&mut self) -> Option<Job> {
        let client = self.turns.pop_front()?;
        let own = self.jobs.get_mut(&client)?;
        let job = own.pop_front();
        if own.is_empty() {
            self.jobs.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    fn client(name: &str) -> Client {
        Client::Endpoint(name.into())
    }

    fn limits(of_one: usize, patience: Duration) -> Limits {
        Limits { of_one, patience }
    }

    const MINUTE: Duration = Duration::from_mins(1);

    /// A thread that is held until the sender is dropped, and what waits for its end.
    async fn held(heavy: &Heavy) -> (mpsc::Sender<()>, impl Future<Output = Result<(), ()>>) {
        let (release, wait) = mpsc::channel::<()>();
        let (start, started) = oneshot::channel();
        let mut work = Box::pin(heavy.run(client("holder"), (), move |()| {
            start.send(()).unwrap();
            let _released = wait.recv();
        }));
        tokio::select! {
            _ = &mut work => panic!("it is held"),
            started = started => started.unwrap(),
        }
        (release, work)
    }

    #[tokio::test]
    async fn each_client_has_its_turn() {
        let heavy = Heavy::start_threads(1, limits(10, MINUTE)).unwrap();
        let (release, holding) = held(&heavy).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let jobs = ["a", "a", "a", "b", "c", "b"].map(|name| {
            let order = Arc::clone(&order);
            heavy.run(client(name), name, move |name| {
                order.lock().unwrap().push(name);
            })
        });
        let mut all = Box::pin(join_all(jobs));
        // Polled once, so that all wait before the first is done.
        assert!(futures_util::poll!(&mut all).is_pending());
        drop(release);
        holding.await.unwrap();
        all.await.into_iter().for_each(Result::unwrap);
        assert_eq!(*order.lock().unwrap(), ["a", "b", "c", "a", "b", "a"]);
    }

    #[tokio::test]
    async fn who_has_too_much_waiting_is_refused_and_others_are_not() {
        let heavy = Heavy::start_threads(1, limits(2, MINUTE)).unwrap();
        let (release, holding) = held(&heavy).await;
        let jobs = ["a", "a", "a", "b"].map(|name| heavy.run(client(name), name, |name| name));
        let mut all = Box::pin(join_all(jobs));
        assert!(futures_util::poll!(&mut all).is_pending());
        drop(release);
        holding.await.unwrap();
        assert_eq!(all.await, [Ok("a"), Ok("a"), Err("a"), Ok("b")]);
        assert!(heavy.0.lock().jobs.is_empty());
    }

    #[tokio::test]
    async fn what_waited_for_too_long_is_not_done() {
        let heavy = Heavy::start_threads(1, limits(2, Duration::from_millis(50))).unwrap();
        let (release, holding) = held(&heavy).await;
        let waiting = heavy.run(client("a"), 7, |_| panic!("it is not done"));
        let given_up: Result<(), _> = waiting.await;
        assert_eq!(given_up, Err(7));
        drop(release);
        // What was begun in time is waited for.
        holding.await.unwrap();
    }

    #[tokio::test]
    async fn who_went_away_costs_nothing_and_a_panic_ends_only_its_own() {
        let heavy = Heavy::start_threads(1, limits(9, MINUTE)).unwrap();
        let (release, holding) = held(&heavy).await;
        let mut gone = Box::pin(heavy.run(client("a"), (), |()| panic!("nobody waits for it")));
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        drop(release);
        holding.await.unwrap();
        let panics = AssertUnwindSafe(heavy.run(client("a"), (), |()| panic!("its own")));
        let panics = futures_util::FutureExt::catch_unwind(panics).await;
        assert!(panics.is_err());
        assert_eq!(heavy.run(client("a"), 7, |seven| seven).await, Ok(7));
    }

    #[tokio::test]
    async fn its_threads_give_way() {
        let heavy = Heavy::start_threads(1, limits(9, MINUTE)).unwrap();
        let nice = |()| rustix::process::getpriority_process(None).unwrap();
        assert_eq!(heavy.run(client("a"), (), nice).await, Ok(NICE));
        assert!(nice(()) < NICE);
    }
}
