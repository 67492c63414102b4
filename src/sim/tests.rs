//! The simulator itself: that it does what it says.

use super::*;
use crate::handler::handler_fn;

fn echo() -> impl Handler {
    handler_fn(|conn, input| {
        conn.send(input.take_all());
        Ok(())
    })
}

#[test]
fn what_is_sent_comes_back_in_a_world_of_every_kind() {
    for profile in [Profile::calm(), Profile::everyday(), Profile::rough()] {
        for flags in [true, false] {
            check(0..200, profile.clone().flags(flags), |sim| {
                let mut reactor = sim.reactor(echo(), Config::default())?;
                reactor.listen("10.0.0.1:7777")?;
                reactor.listen("unix:/run/echo")?;
                for to in ["10.0.0.1:7777", "unix:/run/echo"] {
                    let peer = sim.connect(to);
                    peer.send([7; 5000]);
                    peer.send_urgent();
                    peer.send("hello");
                    peer.expect([7; 5000]);
                    peer.expect("hello");
                    peer.finish();
                    peer.expect_end();
                }
                // An accept that failed takes a peer away.
                match sim.run_until_idle(&mut reactor) {
                    Err(failure)
                        if reactor.stats().accept_errors + reactor.stats().refused == 0 =>
                    {
                        Err(failure)
                    }
                    _ => Ok(()),
                }
            });
        }
    }
}
