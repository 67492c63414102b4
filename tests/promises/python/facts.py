"""What docs/guide/from_python.md says of Python's `socket`: a function for each row of its table,
under the name of the row. Prints the name of each that holds; `python_page.rs` compares.
"""

import errno
import os
import select
import socket
import struct
import tempfile
import time

TIMEVAL = "ll"


def error(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or type(error)
    return 0


def waits(sock, call, *arguments):
    """Whether a blocking call would wait, for ever. The kernel is told to give up after a while
    (SO_RCVTIMEO and SO_SNDTIMEO, socket(7)): it ends a call that waits, and no other.
    """
    assert sock.getblocking() and sock.gettimeout() is None
    options = (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack(TIMEVAL, 0, 50_000))
    start = time.monotonic()
    try:
        call(*arguments)
        return False
    except BlockingIOError:
        # By the clock of the kernel's ticks, which may be a little ahead.
        return time.monotonic() - start > 0.03
    finally:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack(TIMEVAL, 0, 0))


def listener():
    return socket.create_server(("127.0.0.1", 0))


def pair():
    with listener() as server:
        client = socket.create_connection(server.getsockname())
        return client, server.accept()[0]


def unused():
    """An address of this machine where nobody listens."""
    with listener() as server:
        return server.getsockname()


def silent():
    """A listener that answers nobody: its backlog is full (Linux lets in one more than it was told)."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    return server, socket.create_connection(server.getsockname())


def fill(sock):
    """Sends until the kernel takes no more."""
    sock.setblocking(False)
    while error(sock.send, bytes(1 << 20)) == 0:
        pass
    sock.setblocking(True)


def readable(sock):
    assert select.select([sock], [], [], 20)[0]


def writable(sock):
    assert select.select([], [sock], [], 20)[1]


def socket_AF_INET_SOCK_STREAM():
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert sock.getblocking() and sock.proto == 0
    assert error(sock.recv, 1) == errno.ENOTCONN


def socket_AF_INET6():
    try:
        server = socket.socket(socket.AF_INET6)
        server.bind(("::1", 0))
    except OSError as error:
        # A machine without it.
        assert error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
        return
    host, _port, _flow, _scope = server.getsockname()
    assert host == "::1"
    # IPv4 clients come too, under an IPv6 name, if the system has it so.
    server = socket.socket(socket.AF_INET6)
    server.bind(("::", 0))
    server.listen()
    if server.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0:
        client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
        assert server.accept()[1][:2] == ("::ffff:127.0.0.1", client.getsockname()[1])


def socket_AF_UNIX():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        first = socket.socket(socket.AF_UNIX)
        first.bind(path)
        first.listen()
        first.close()
        # It stays behind its server, in the way of the next.
        assert os.path.exists(path)
        assert error(socket.socket(socket.AF_UNIX).bind, path) == errno.EADDRINUSE
        assert error(socket.socket(socket.AF_UNIX).connect, path) == errno.ECONNREFUSED


def datagrams():
    one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    one.bind(("127.0.0.1", 0))
    return one, two


def socket_SOCK_DGRAM():
    one, two = datagrams()
    two.sendto(b"a", one.getsockname())
    two.sendto(b"", one.getsockname())
    two.sendto(b"bc", one.getsockname())
    # Each as it was sent, an empty one too.
    assert [one.recvfrom(100)[0] for _ in range(3)] == [b"a", b"", b"bc"]


def socket_proto():
    assert socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP).proto == 6
    assert error(socket.socket, socket.AF_INET, socket.SOCK_STREAM, 17) == errno.EPROTONOSUPPORT


def bind():
    server = listener()
    sock = socket.socket()
    assert error(sock.bind, server.getsockname()) == errno.EADDRINUSE
    assert error(sock.bind, ("192.0.2.1", 0)) == errno.EADDRNOTAVAIL
    sock.bind(("127.0.0.1", 0))
    assert sock.getsockname()[1] != 0
    # Without SO_REUSEADDR a restart fails while an old connection's end is remembered.
    old = socket.socket()
    old.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    old.bind(("127.0.0.1", 0))
    old.listen()
    address = old.getsockname()
    client = socket.create_connection(address)
    served, _ = old.accept()
    served.close()
    assert client.recv(1) == b""
    client.close()
    old.close()
    again = socket.socket()
    assert error(again.bind, address) == errno.EADDRINUSE
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(address)


def listen():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    assert error(socket.create_connection, sock.getsockname()) == errno.ECONNREFUSED
    assert error(sock.accept) == errno.EINVAL
    sock.listen()
    # The kernel lets them in, and keeps what they say.
    clients = [socket.create_connection(sock.getsockname()) for _ in range(3)]
    clients[0].sendall(b"early")
    assert sock.accept()[0].recv(100) == b"early"


def setblocking():
    one, two = socket.socketpair()
    one.setblocking(False)
    assert one.gettimeout() == 0.0
    assert error(one.recv, 1) == errno.EAGAIN
    try:
        one.recv(1)
    except BlockingIOError:
        pass
    one.setblocking(True)
    assert one.gettimeout() is None
    assert waits(one, one.recv, 1)
    two.sendall(b"x")
    assert not waits(one, one.recv, 1)


def accept():
    server = listener()
    assert waits(server, server.accept)
    server.setblocking(False)
    assert error(server.accept) == errno.EAGAIN
    client = socket.create_connection(server.getsockname())
    readable(server)
    served, peer = server.accept()
    assert peer == client.getsockname()
    # On Linux it is not inherited.
    assert served.getblocking() and served.gettimeout() is None


def connect():
    server, _filler = silent()
    sock = socket.socket()
    assert waits(sock, sock.connect, server.getsockname())
    assert error(socket.socket().connect, unused()) == errno.ECONNREFUSED
    server = listener()
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect(server.getsockname())
        raise AssertionError("it did not wait")
    except BlockingIOError as pending:
        assert pending.errno == errno.EINPROGRESS
    writable(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    # Writable is not connected: the error tells, once.
    sock = socket.socket()
    sock.setblocking(False)
    assert error(sock.connect, unused()) == errno.EINPROGRESS
    writable(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def connect_ex():
    assert socket.socket().connect_ex(unused()) == errno.ECONNREFUSED
    server = listener()
    assert socket.socket().connect_ex(server.getsockname()) == 0
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex(server.getsockname()) == errno.EINPROGRESS
    writable(sock)
    assert sock.connect_ex(server.getsockname()) in (0, errno.EISCONN)


def close():
    one, two = pair()
    one.sendall(b"said")
    one.close()
    assert two.recv(100) == b"said" and two.recv(100) == b""
    assert one.fileno() == -1
    assert error(one.send, b"x") == errno.EBADF
    # With input unread it is a reset.
    one, two = pair()
    two.sendall(b"unread")
    readable(one)
    one.sendall(b"reply")
    one.close()
    writable(two)
    try:
        while two.recv(100):
            pass
        raise AssertionError("an orderly end")
    except ConnectionResetError:
        pass


def shutdown():
    one, two = pair()
    one.sendall(b"question")
    one.shutdown(socket.SHUT_WR)
    assert two.recv(100) == b"question" and two.recv(100) == b""
    two.sendall(b"answer")
    assert one.recv(100) == b"answer"
    try:
        one.send(b"more")
        raise AssertionError("sent behind the end")
    except BrokenPipeError:
        pass


def recv():
    one, two = pair()
    assert waits(one, one.recv, 100)
    one.setblocking(False)
    assert error(one.recv, 100) == errno.EAGAIN
    # No messages: two sends may be one recv, one send may be two.
    two.sendall(b"one,")
    two.sendall(b"two")
    two.close()
    one.setblocking(True)
    assert one.recv(2) == b"on"
    rest = b""
    while chunk := one.recv(100):
        rest += chunk
    assert rest == b"e,two"
    # The end stays the end, and is no EAGAIN.
    one.setblocking(False)
    assert one.recv(100) == b""


def recvfrom():
    one, two = pair()
    two.sendall(b"hello")
    assert one.recvfrom(100) == (b"hello", None)
    one, two = datagrams()
    assert waits(one, one.recvfrom, 100)
    two.sendto(b"0123456789", one.getsockname())
    # What does not fit is thrown away, without a word.
    payload, peer = one.recvfrom(4)
    assert payload == b"0123" and peer[1] == two.getsockname()[1]
    one.setblocking(False)
    assert error(one.recvfrom, 4) == errno.EAGAIN


def recv_into():
    one, two = pair()
    room = bytearray(100)
    assert waits(one, one.recv_into, room)
    two.sendall(b"hello")
    assert one.recv_into(room) == 5 and room[:5] == b"hello"
    one.setblocking(False)
    assert error(one.recv_into, room) == errno.EAGAIN


def send():
    # A Unix pair: TCP passes on what was taken in the background, and so makes room.
    one, two = socket.socketpair()
    assert one.send(b"hello") == 5
    fill(one)
    assert waits(one, one.send, b"x")
    one.setblocking(False)
    assert error(one.send, b"x") == errno.EAGAIN
    one, two = pair()
    one.setblocking(False)
    assert 0 < one.send(bytes(64 << 20)) < 64 << 20


def sendall():
    one, two = pair()
    assert waits(one, one.sendall, bytes(64 << 20))
    one, two = pair()
    one.setblocking(False)
    try:
        one.sendall(bytes(64 << 20))
        raise AssertionError("all was taken")
    except BlockingIOError as error:
        # It does not say how much, and some of it has gone.
        assert not hasattr(error, "characters_written")
    readable(two)


def sendfile():
    with tempfile.TemporaryFile() as file:
        file.write(b"a file")
        file.seek(0)
        one, two = pair()
        assert one.sendfile(file) == 6 and two.recv(100) == b"a file"
        one.setblocking(False)
        try:
            one.sendfile(file)
            raise AssertionError("sent without blocking")
        except ValueError:
            pass


def sendto():
    one, two = datagrams()
    assert two.sendto(b"hello", one.getsockname()) == 5
    assert error(two.sendto, bytes(70_000), one.getsockname()) == errno.EMSGSIZE
    # To nobody: it does not say so, as long as the socket is not connected.
    assert two.sendto(b"hello", unused_datagram()) == 5
    two.connect(unused_datagram())
    two.send(b"hello")
    assert error(two.recv, 100) == errno.ECONNREFUSED
    # A full receiver on the same machine, where the kernel's room is the receiver's.
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        one, two = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        one.bind(path)
        two.setblocking(False)
        while error(two.sendto, b"x", path) == 0:
            pass
        assert error(two.sendto, b"x", path) == errno.EAGAIN
        two.setblocking(True)
        assert waits(two, two.sendto, b"x", path)


def unused_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()


def settimeout():
    one, two = pair()
    one.settimeout(0.05)
    for call in (lambda: one.recv(100), lambda: one.sendall(bytes(64 << 20))):
        try:
            call()
            raise AssertionError("it did not wait")
        except TimeoutError:
            pass
    server = listener()
    server.settimeout(0.05)
    try:
        server.accept()
        raise AssertionError("it did not wait")
    except TimeoutError:
        pass
    client = socket.create_connection(server.getsockname())
    assert server.accept()[0].gettimeout() is None
    server, _filler = silent()
    sock = socket.socket()
    sock.settimeout(0.05)
    try:
        sock.connect(server.getsockname())
        raise AssertionError("it did not wait")
    except TimeoutError:
        pass


def gettimeout():
    sock = socket.socket()
    assert sock.gettimeout() is None
    sock.settimeout(2.5)
    assert sock.gettimeout() == 2.5
    sock.setblocking(False)
    assert sock.gettimeout() == 0.0


def getpeername():
    one, two = pair()
    assert one.getpeername() == two.getsockname()
    assert error(socket.socket().getpeername) == errno.ENOTCONN
    # Nor of one that has reset before it is asked.
    with listener() as server:
        client = socket.create_connection(server.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert error(server.accept()[0].getpeername) == errno.ENOTCONN


def getsockname():
    sock = socket.socket()
    assert sock.getsockname() == ("0.0.0.0", 0)
    sock.bind(("127.0.0.1", 0))
    assert sock.getsockname()[1] != 0


def setsockopt():
    one, _two = pair()
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def getsockopt():
    one, _two = pair()
    # As the kernel has them: small answers of ours wait for acknowledgements.
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def fileno():
    one, _two = pair()
    assert one.fileno() >= 0 and not os.get_inheritable(one.fileno())
    one.close()
    assert one.fileno() == -1


def makefile():
    one, two = pair()
    two.sendall(b"one\ntwo\n")
    assert one.makefile("rb").readline() == b"one\n"
    # Non-blocking: half a line is returned as if it were one, and "not yet" as if it were the end.
    one, two = pair()
    one.setblocking(False)
    file = one.makefile("rb")
    assert file.readline() == b""
    two.sendall(b"ha")
    readable(one)
    assert file.readline() == b"ha"
    # After a timeout it is of no use any more.
    one, two = pair()
    one.settimeout(0.05)
    file = one.makefile("rb")
    for _ in range(2):
        try:
            file.readline()
            raise AssertionError("it did not wait")
        except TimeoutError:
            pass
        except OSError as error:
            assert "timed out object" in str(error)
            two.sendall(b"late\n")


FACTS = {
    "socket(AF_INET, SOCK_STREAM)": socket_AF_INET_SOCK_STREAM,
    "socket(AF_INET6, …)": socket_AF_INET6,
    "socket(AF_UNIX, …)": socket_AF_UNIX,
    "socket(…, SOCK_DGRAM)": socket_SOCK_DGRAM,
    "socket(…, proto)": socket_proto,
    **{
        f"{call.__name__}()": call
        for call in (
            bind, listen, setblocking, accept, connect, connect_ex, close, shutdown, recv,
            recvfrom, recv_into, send, sendall, sendfile, sendto, settimeout, gettimeout,
            getpeername, getsockname, setsockopt, getsockopt, fileno, makefile,
        )
    },
}  # fmt: skip

for name, fact in FACTS.items():
    fact()
    print(name, flush=True)
