//! A machine that stands still for a while, as one that is suspended or moved.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::binary::Meridian;
use crate::support::folder::Folder;
use crate::support::{PATIENCE, wait_until};
use crate::{REGIONS, SERVER};

const INTERVAL: Duration = Duration::from_millis(300);
/// What a backend takes to answer, so that some runs are under way at any time.
const ANSWER_TAKES: Duration = Duration::from_millis(80);
const ENDPOINTS: usize = 24;

/// Answers at every address of loopback, each connection by itself.
struct Backends {
    port: u16,
    answered: Arc<AtomicU32>,
    /// Whether nothing is answered, as they stand still too.
    are_paused: Arc<AtomicBool>,
}

impl Backends {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let backends = Self { port, answered: Arc::default(), are_paused: Arc::default() };
        let (answered, are_paused) = (Arc::clone(&backends.answered), Arc::clone(&backends.are_paused));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (answered, are_paused) = (Arc::clone(&answered), Arc::clone(&are_paused));
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.read(&mut [0; 4096]);
                    thread::sleep(ANSWER_TAKES);
                    wait_until("nothing stands still", || !are_paused.load(Ordering::SeqCst));
                    // The prober may have gone away, which would be its right.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    answered.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        backends
    }

    fn pause(&self, is_paused: bool) {
        self.are_paused.store(is_paused, Ordering::SeqCst);
    }
}

#[test]
fn a_machine_that_stood_still_takes_nothing_down() {
    let backends = Backends::start();
    let mut config = format!("{REGIONS}{SERVER}");
    for fall in [1, 3] {
        let endpoint = |host| format!("{{ region = \"us-east\", address = \"127.0.26.{host}\" }}, ");
        let endpoints: String = (1..=ENDPOINTS / 2).map(endpoint).collect();
        config += &format!(
            r#"
[probes.fall-{fall}]
type = "http"
path = "/"
port = {}
interval = "{}ms"
timeout = "270ms"
fall = {fall}
[pools.fall-{fall}]
probe = "fall-{fall}"
endpoints = [{endpoints}]
[services."fall-{fall}.geo.example"]
pool = "fall-{fall}"
"#,
            backends.port,
            INTERVAL.as_millis()
        );
    }
    let folder = Folder::new("pause");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    meridian.wait_for_verdicts(&[]);
    backends.pause(true);
    meridian.process.signal("STOP");
    // Nothing can be awaited but the time itself.
    thread::sleep(INTERVAL * 10);
    meridian.process.signal("CONT");
    backends.pause(false);
    let answered = || backends.answered.load(Ordering::SeqCst);
    let before = answered();
    wait_until("each is probed again", || answered() > before + 4 * ENDPOINTS as u32);
    // The first verdict is one, and there is no other.
    let turned = meridian.metric("meridian_verdict_transitions_total", "");
    assert_eq!(turned, ENDPOINTS as f64, "{}", meridian.process.text());
    assert_eq!(meridian.metric("meridian_endpoint_verdict", "verdict=\"up\""), ENDPOINTS as f64);
}
