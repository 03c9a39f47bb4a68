//! A paced UDP load on loopback that checks every answer.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u32 = 2;
const SOCKETS_PER_THREAD: usize = 4;
/// Queries in flight per socket at most: all of them together fit into the smallest usual receive buffer.
const WINDOW: usize = 32;
/// How long an answer may take.
const GRACE: Duration = Duration::from_secs(2);
/// The pause when there is nothing to send and nothing has come.
const NAP: Duration = Duration::from_micros(100);

/// How much to ask of whom.
pub(crate) struct Load {
    /// On loopback.
    pub(crate) server: SocketAddr,
    /// Whose queries they are.
    pub(crate) source: IpAddr,
    /// The pace; what the window holds up is made good later.
    pub(crate) queries_per_second: u32,
    /// How long queries are sent.
    pub(crate) duration: Duration,
}

/// What became of the queries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// Queries sent.
    pub(crate) sent: u64,
    /// Right answers.
    pub(crate) answered: u64,
    /// Queries without an answer in time.
    pub(crate) lost: u64,
    /// Answers that are wrong, or to no open query.
    pub(crate) wrong: u64,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Load {
    /// Sends `query` with one id after the other, and hands each response to `is_right`.
    pub(crate) fn run(&self, query: &[u8], is_right: impl Fn(&[u8]) -> bool + Sync) -> Report {
        assert!(self.server.ip().is_loopback(), "load goes to loopback only");
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| self.run_share(query, &is_right))).collect();
            threads.into_iter().fold(Report::default(), |sum, thread| {
                let share = thread.join().unwrap();
                Report {
                    sent: sum.sent + share.sent,
                    answered: sum.answered + share.answered,
                    lost: sum.lost + share.lost,
                    wrong: sum.wrong + share.wrong,
                    slowest: sum.slowest.max(share.slowest),
                }
            })
        })
    }

    /// One thread's share.
    fn run_share(&self, query: &[u8], is_right: &impl Fn(&[u8]) -> bool) -> Report {
        let mut report = Report::default();
        let mut clients: Vec<_> = (0..SOCKETS_PER_THREAD).map(|_| Client::new(self, query)).collect();
        let per_second = f64::from(self.queries_per_second) / f64::from(THREADS);
        let start = Instant::now();
        loop {
            let elapsed = start.elapsed();
            let in_flight: usize = clients.iter().map(|client| client.in_flight).sum();
            if elapsed >= self.duration && (in_flight == 0 || elapsed >= self.duration + GRACE) {
                report.lost += in_flight as u64;
                return report;
            }
            let due = (elapsed.min(self.duration).as_secs_f64() * per_second) as u64;
            let before = report;
            for client in &mut clients {
                while report.sent < due && client.in_flight < WINDOW && client.send(&mut report) {}
                while client.receive(&mut report, is_right) {}
            }
            if report == before {
                thread::sleep(NAP);
            }
        }
    }
}

struct Client {
    socket: UdpSocket,
    query: Vec<u8>,
    next_id: u16,
    /// By id.
    sent_at: Vec<Option<Instant>>,
    in_flight: usize,
}

impl Client {
    fn new(load: &Load, query: &[u8]) -> Client {
        let socket = super::udp_client_from(load.source, load.server);
        socket.set_nonblocking(true).unwrap();
        Client { socket, query: query.to_vec(), next_id: 0, sent_at: vec![None; 1 << 16], in_flight: 0 }
    }

    /// Sends one query; false where the socket takes none now.
    fn send(&mut self, report: &mut Report) -> bool {
        self.query[..2].copy_from_slice(&self.next_id.to_be_bytes());
        match self.socket.send(&self.query) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the load can't be sent: {error}"),
        }
        report.sent += 1;
        match self.sent_at[usize::from(self.next_id)].replace(Instant::now()) {
            // The ids have come round, and this one was never answered.
            Some(_) => report.lost += 1,
            None => self.in_flight += 1,
        }
        self.next_id = self.next_id.wrapping_add(1);
        true
    }

    /// Takes one answer; false where none has come.
    fn receive(&mut self, report: &mut Report, is_right: impl Fn(&[u8]) -> bool) -> bool {
        let mut response = [0; 4096];
        let response = match self.socket.recv(&mut response) {
            Ok(length) => &response[..length],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the load's answers can't be received: {error}"),
        };
        let id = response.first_chunk().map(|id| usize::from(u16::from_be_bytes(*id)));
        match id.and_then(|id| self.sent_at[id].take()) {
            Some(sent_at) => {
                self.in_flight -= 1;
                report.slowest = report.slowest.max(sent_at.elapsed());
                if is_right(response) {
                    report.answered += 1;
                } else {
                    report.wrong += 1;
                }
            }
            None => report.wrong += 1,
        }
        true
    }
}
