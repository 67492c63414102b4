//! Several processes with static slots, as clients of Redis Cluster see them.

use std::net::TcpListener;

use crate::support::*;

/// Three processes. Their ports have to be known before they are started.
pub(crate) fn three() -> Vec<Server> {
    let held: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = held.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    let [a, b, c] = &addresses[..] else { unreachable!() };
    let cluster = format!("0-5460={a},5461-10922={b},10923-16383={c}");
    drop(held);
    let start = |own: &String| {
        Server::with(&[
            "--reactors",
            "2",
            "--listen",
            own,
            "--cluster",
            &cluster,
            "--cluster-self",
            own,
        ])
    };
    addresses.iter().map(start).collect()
}

#[test]
fn a_key_of_another_process_is_there() {
    let servers = three();
    let mut first = servers[0].client();
    // 12182, 5061.
    assert_eq!(first.ask("GET foo"), format!("-MOVED 12182 {}", servers[2].address));
    assert_eq!(first.ask("SET bar 1"), "OK");
    assert_eq!(first.ask("MGET bar foo"), "-CROSSSLOT Keys in request don't hash to the same slot");
    assert_eq!(first.ask("CLUSTER KEYSLOT foo"), "12182");
    assert_eq!(first.ask("CLUSTER COUNTKEYSINSLOT 5061"), "1");
    assert_eq!(first.ask("CLUSTER COUNTKEYSINSLOT 5062"), "0");
    assert!(first.ask("CLUSTER INFO").contains("cluster_state:ok"));
    let own = first.ask("CLUSTER MYID");
    assert!(
        first
            .ask("CLUSTER NODES")
            .contains(&format!("{own} {}@0 myself,master", servers[0].address))
    );
    assert!(
        first
            .ask("CLUSTER SLOTS")
            .starts_with(&format!("[[0 5460 [127.0.0.1 {} ", servers[0].port()))
    );
    assert!(first.ask("CLUSTER SHARDS").starts_with("[[slots [0 5460] nodes [[id "));
    assert_eq!(first.ask("MULTI"), "OK");
    assert!(first.ask("SET foo 1").starts_with("-MOVED 12182 "));
    assert!(first.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(servers[2].client().ask("SET foo 1"), "OK");
}

#[test]
fn alone_it_is_no_cluster() {
    let server = Server::start(1);
    assert_eq!(
        server.client().ask("CLUSTER INFO"),
        "-ERR This instance has cluster support disabled"
    );
}
