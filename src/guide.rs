//! The guide, from the first blocking server to a protocol of your own, in fourteen pages. Every piece
//! of code in it is compiled and run by the tests.
//!
//! 1. [How a poll loop works](poll_loop): why a blocking server keeps its second client waiting,
//!    what `setblocking(False)` cures and what it costs, and what a poll adds.
//! 2. [Your first protocol](first_protocol): a small key-value server, step by step, up to its
//!    limits, its shutdown and its tests.
//! 3. [Connecting out](connecting_out): a server that asks another one. Failures, names, and two
//!    connections as one.
//! 4. [Other loops](other_loops): the reactor inside an epoll of yours, or inside tokio; two
//!    reactors in one thread.
//! 5. [TLS](tls): servers and clients over it, several certificates, STARTTLS, and what an operator
//!    reads when a handshake fails. By the crate `wouldblock-rustls`.
//! 6. [What happens when…](what_happens_when): clients that never read, vanish, flood or trickle;
//!    no descriptor left; `SIGTERM`. What the library does, and what the operator reads.
//! 7. [From Python's `socket`](from_python): for readers who know that module: every call of it, what it
//!    does there, when it waits, and what stands for it here; the three classic programs; a
//!    thread for each client; a port-forwarder and a chat.
//! 8. [Layers: write one](layers): what stands between the bytes and the handler, as TLS does; a toy
//!    one from scratch, and its test.
//! 9. [More than one service](services): an admin port, or a second protocol, on the same thread; limits
//!    for each, and a connection that changes hands.
//! 10. [In front of us](in_front): HAProxy, nginx, a load balancer: the client's address, health checks,
//!    timeouts that fit, leaving without lost connections. By the crate `wouldblock-proxy-protocol`.
//! 11. [WebSocket](websocket): from ws-rs, or tungstenite on mio, to here. By the crate
//!    `wouldblock-websocket`.
//! 12. [From `tiny_http` to here](tiny_http): HTTP servers, call by call; work on threads, uploads,
//!     files, feeds. By the crate `wouldblock-http`.
//! 13. [Many cores](many_cores): the same handler on several reactors; which of them has a
//!     connection, and what one says to another.
//! 14. [The failure-mode book](failure_modes): what goes wrong in servers of this kind, by what you
//!    would see; why it does not happen here, and which test shows it.
//!
//! There is no code here: the pages lie in `docs/guide/`. This module exists in the documentation
//! only, so a program cannot name it.

#[doc = include_str!("../docs/guide/poll_loop.md")]
pub mod poll_loop {}

#[doc = include_str!("../docs/guide/first_protocol.md")]
pub mod first_protocol {}

#[doc = include_str!("../docs/guide/connecting_out.md")]
pub mod connecting_out {}

// Its examples need tokio: they are run in `crates/in_tokio`.
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/other_loops.md"))]
#[cfg_attr(doctest, doc = "A page.")]
pub mod other_loops {}

// Its examples need `wouldblock-rustls`: they are run there.
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/tls.md"))]
#[cfg_attr(doctest, doc = "A page.")]
pub mod tls {}

// Its examples need `wouldblock-proxy-protocol`: they are run there.
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/in_front.md"))]
#[cfg_attr(doctest, doc = "A page.")]
pub mod in_front {}

// Its examples need `wouldblock-websocket`: they are run there.
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/websocket.md"))]
#[cfg_attr(doctest, doc = "A page.")]
pub mod websocket {}

// Its examples need `wouldblock-http`: they are run there.
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/tiny_http.md"))]
#[cfg_attr(doctest, doc = "A page.")]
pub mod tiny_http {}

#[doc = include_str!("../docs/guide/what_happens_when.md")]
pub mod what_happens_when {}

#[doc = include_str!("../docs/guide/from_python.md")]
pub mod from_python {}

#[doc = include_str!("../docs/guide/layers.md")]
pub mod layers {}

#[doc = include_str!("../docs/guide/services.md")]
pub mod services {}

#[doc = include_str!("../docs/guide/many_cores.md")]
pub mod many_cores {}

#[doc = include_str!("../docs/guide/failure_modes.md")]
pub mod failure_modes {}
