/*
 * Faults of the kernel, made to order: a library to preload that stands between a server and libc.
 *
 * A test says in a shared file which call is to fail, how, how often, and reads there how often it
 * was called. What it does is what the kernel may do: a call that failed has had no effect, except
 * that accept, told to "take", takes the connection off the queue and resets it first, as one that
 * was aborted (ECONNABORTED) is gone. Read next: tests/faults.rs, which builds and uses it.
 *
 *     cc -shared -fPIC -O2 -o fault.so fault.c -ldl
 *     WOULDBLOCK_FAULTS=FILE LD_PRELOAD=./fault.so SERVER
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* The calls, in the order of their rules in the file. */
enum call { ACCEPT, EPOLL_CTL_ADDS, EPOLL_WAIT, POLL, RECV, SEND, SENDMSG, CALLS };

/* What a test says of one call, and what it is told: eight numbers of eight bytes each. */
struct rule {
    uint64_t error; /* errno of the fault */
    uint64_t left;  /* so many faults are still to come */
    uint64_t every; /* only each so-manieth call meets one; 0 and 1: each */
    uint64_t most;  /* recv, send, sendmsg: at most so many bytes at a time; 0: as many as there are */
    uint64_t take;  /* accept: the connection is gone with the fault */
    uint64_t calls; /* calls so far */
    uint64_t given; /* faults so far */
    uint64_t here;  /* 1: the library is loaded */
};

static struct rule *rules;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("WOULDBLOCK_FAULTS");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, CALLS * sizeof *rules, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return;
    rules = map;
    rules[0].here = 1;
}

/* Counts a call, and tells with which errno it is to fail; 0: not at all. */
static int fault(enum call call) {
    if (!rules)
        return 0;
    struct rule *rule = &rules[call];
    uint64_t n = __atomic_add_fetch(&rule->calls, 1, __ATOMIC_SEQ_CST);
    uint64_t every = __atomic_load_n(&rule->every, __ATOMIC_SEQ_CST);
    uint64_t left = __atomic_load_n(&rule->left, __ATOMIC_SEQ_CST);
    if (every > 1 && n % every != 0)
        return 0;
    do {
        if (left == 0)
            return 0;
    } while (!__atomic_compare_exchange_n(&rule->left, &left, left - 1, 0, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    __atomic_add_fetch(&rule->given, 1, __ATOMIC_SEQ_CST);
    return (int)__atomic_load_n(&rule->error, __ATOMIC_SEQ_CST);
}

/* How many of n bytes a call may move. */
static size_t cut(enum call call, size_t n) {
    uint64_t most = rules ? __atomic_load_n(&rules[call].most, __ATOMIC_SEQ_CST) : 0;
    return most && most < n ? (size_t)most : n;
}

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real)                                                                                     \
        *(void **)&real = dlsym(RTLD_NEXT, name)

#define FAIL_IF(error)                                                                             \
    do {                                                                                           \
        int errno_ = (error);                                                                     \
        if (errno_) {                                                                             \
            errno = errno_;                                                                       \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags) {
    REAL(int, "accept4", int, struct sockaddr *, socklen_t *, int);
    /* Who is not there cannot be aborted. */
    struct pollfd door = {.fd = fd, .events = POLLIN};
    struct rule *rule = rules ? &rules[ACCEPT] : NULL;
    int takes = rule && __atomic_load_n(&rule->take, __ATOMIC_SEQ_CST);
    if (takes) {
        REAL(int, "poll", struct pollfd *, nfds_t, int);
        if (real(&door, 1, 0) == 0) {
            errno = EAGAIN;
            return -1;
        }
    }
    int why = fault(ACCEPT);
    if (why && takes) {
        int taken = real(fd, NULL, NULL, flags);
        struct linger now = {.l_onoff = 1};
        if (taken >= 0) {
            setsockopt(taken, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            close(taken);
        }
    }
    FAIL_IF(why);
    return real(fd, addr, len, flags);
}

int epoll_ctl(int poll, int op, int fd, struct epoll_event *event) {
    REAL(int, "epoll_ctl", int, int, int, struct epoll_event *);
    if (op == EPOLL_CTL_ADD)
        FAIL_IF(fault(EPOLL_CTL_ADDS));
    return real(poll, op, fd, event);
}

int epoll_wait(int poll, struct epoll_event *events, int most, int timeout) {
    REAL(int, "epoll_wait", int, struct epoll_event *, int, int);
    FAIL_IF(fault(EPOLL_WAIT));
    return real(poll, events, most, timeout);
}

int poll(struct pollfd *fds, nfds_t n, int timeout) {
    REAL(int, "poll", struct pollfd *, nfds_t, int);
    FAIL_IF(fault(POLL));
    return real(fds, n, timeout);
}

ssize_t recv(int fd, void *buf, size_t n, int flags) {
    REAL(ssize_t, "recv", int, void *, size_t, int);
    FAIL_IF(fault(RECV));
    return real(fd, buf, cut(RECV, n), flags);
}

ssize_t send(int fd, const void *buf, size_t n, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    FAIL_IF(fault(SEND));
    return real(fd, buf, cut(SEND, n), flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
    FAIL_IF(fault(SENDMSG));
    if (rules && rules[SENDMSG].most && message->msg_iovlen > 0) {
        /* The first piece that holds anything, and of that so much. */
        struct iovec *first = message->msg_iov, *end = first + message->msg_iovlen;
        while (first + 1 < end && first->iov_len == 0)
            first++;
        struct iovec piece = {first->iov_base, cut(SENDMSG, first->iov_len)};
        struct msghdr shorter = *message;
        shorter.msg_iov = &piece;
        shorter.msg_iovlen = 1;
        return real(fd, &shorter, flags);
    }
    return real(fd, message, flags);
}
