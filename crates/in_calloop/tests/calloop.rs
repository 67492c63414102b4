//! The reactor in a calloop loop: its clients, its timers and its posts are served beside those of
//! the loop.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use calloop::EventLoop;
use calloop::timer::{TimeoutAction, Timer};
use wouldblock::{Conn, Context, Handler, Input, Origin, Reactor};
use wouldblock_in_calloop::Source;

const MS: Duration = Duration::from_millis(1);

/// Echoes; after a message `later` by a timer of the connection, a moment later.
#[derive(Default)]
struct Echo {
    timers: u32,
}

impl Handler for Echo {
    type Session = Vec<u8>;

    fn on_start(&mut self, cx: &mut Context) -> io::Result<()> {
        cx.set_periodic_timer(MS * 5, 0);
        Ok(())
    }

    fn on_open(&mut self, _conn: &mut Conn<'_>, _origin: Origin) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn on_data(
        &mut self,
        conn: &mut Conn<'_>,
        later: &mut Vec<u8>,
        input: &mut Input<'_>,
    ) -> io::Result<()> {
        let bytes = input.take_all();
        if bytes.starts_with(b"later") {
            later.extend_from_slice(bytes);
            conn.set_timeout(MS * 20);
        } else {
            conn.send(bytes);
        }
        Ok(())
    }

    fn on_timeout(&mut self, conn: &mut Conn<'_>, later: &mut Vec<u8>) -> io::Result<()> {
        conn.send(std::mem::take(later));
        Ok(())
    }

    fn on_timer(&mut self, _cx: &mut Context, _timer: wouldblock::Timer) {
        self.timers += 1;
    }
}

#[derive(Default)]
struct State {
    ticks: u32,
    end: Option<io::Result<()>>,
}

/// Asks and waits for the answer.
fn ask(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

/// Promise 1: what is due only by the reactor's clock, and what only another thread knows of, is
/// served too.
#[test]
fn clients_timers_and_posts_are_served_in_a_calloop_loop() {
    let mut reactor = Reactor::new(Echo::default()).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr: SocketAddr = reactor.listener_addr(listener).unwrap().socket_addr().unwrap();
    let handle = reactor.handle();

    let client = thread::spawn(move || {
        let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for client in &mut clients {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            ask(client, b"hello");
            ask(client, &vec![7; 200_000]);
        }
        ask(&mut clients[3], b"later: by a timer");
        let (told, tell) = std::sync::mpsc::channel();
        handle.post(move |echo: &mut Echo, _| told.send(echo.timers).unwrap()).unwrap();
        let timers = tell.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(clients);
        handle.shutdown();
        timers
    });

    let mut events: EventLoop<'_, State> = EventLoop::try_new().unwrap();
    let source = Source::new(reactor).unwrap();
    events.handle().insert_source(source, |end, (), state| state.end = Some(end)).unwrap();
    let tick = |_, (): &mut (), state: &mut State| {
        state.ticks += 1;
        TimeoutAction::ToDuration(MS * 5)
    };
    events.handle().insert_source(Timer::from_duration(MS * 5), tick).unwrap();
    let (mut state, signal) = (State::default(), events.get_signal());
    let ended = |state: &mut State| {
        // A failure is told, not waited for: 50 s.
        if state.end.is_some() || state.ticks > 10_000 {
            signal.stop();
        }
    };
    events.run(None, &mut state, ended).unwrap();
    state.end.expect("shutdown was asked for and did not come").unwrap();
    assert!(state.ticks > 0, "calloop's own timer came");
    assert!(client.join().unwrap() > 0, "and the reactor's");
}
