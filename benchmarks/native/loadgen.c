// The load generator: many Server-Sent Events connections on one core, told what to do on stdin.
//
// Law: it must not be the bottleneck, and it says when it was (cpu_s against seconds). Every event
// of every connection is found, counted, timed and checked for order; nothing is sampled.
//
// Events hold "n":<counter>,"t":<CLOCK_MONOTONIC ns at append>. Events of a stream have nearly one
// length, so the next "t": is looked for one length on before anything is searched: a few
// nanoseconds an event, whatever its size.
//
//   connect N PORT PATHSFILE STALLED_PER_100   open N, connection i asks for path i modulo lines;
//                                              a line `:PORT/path` is for another server
//   mark                                       what came since the last mark, then begin anew
//   stat                                       the same, without beginning anew
//   publish PORT PATH RATE SECONDS PAD STREAMS POST events (for servers fed over HTTP); %d in PATH
//   first COUNT PORT PATH                      one at a time: connect to first event
//   close | quit
// Each command is answered by one line of JSON.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long u64;
enum { CARRY = 128, SUB = 64, BUCKETS = 40 * SUB, READ = 1 << 18 };

typedef struct {
  int fd, stalled, streaming, carried;
  long long last;  // the newest n, -1 before the first
  u64 began;
  char carry[CARRY];
} Conn;

static Conn *conns;
static int conn_count, streaming, failed, closed_by_peer, ep;
static u64 events, bytes, reads, lost, disordered, mark_at, mark_cpu;
static u64 latency[BUCKETS], opening[BUCKETS];
static char buffer[CARRY + READ + 8];

static u64 now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u64 cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000ull + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

// Log-linear buckets of microseconds: 64 to each power of two, so within 1.6 %.
static void record(u64 *histogram, long long ns) {
  u64 us = ns < 0 ? 0 : ns / 1000;
  int shift = us < SUB ? 0 : 63 - __builtin_clzll(us) - 5;
  int index = shift * (SUB / 2) + (int)(us >> shift);
  histogram[index < BUCKETS ? index : BUCKETS - 1]++;
}

static double quantile(const u64 *histogram, double q) {
  u64 total = 0, seen = 0;
  for (int i = 0; i < BUCKETS; i++) total += histogram[i];
  for (int i = 0; i < BUCKETS; i++) {
    seen += histogram[i];
    if (total && seen >= q * total) {
      int shift = i < SUB ? 0 : i / (SUB / 2) - 1;
      return ((u64)(i - shift * (SUB / 2)) << shift) / 1000.0;
    }
  }
  return 0;
}

static struct sockaddr_in address(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

static int dial(int port, int nonblocking) {
  int fd = socket(AF_INET, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0), one = 1;
  struct sockaddr_in a = address(port);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (void *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  return fd;
}

// The counter before "t": at p, read backwards: {"n":12,"t":… (spaces allowed).
static long long counter_before(const char *p, const char *start) {
  const char *q = p - 1;
  while (q > start && (*q == ',' || *q == ' ')) q--;
  long long value = 0, scale = 1;
  for (; q >= start && *q >= '0' && *q <= '9'; q--, scale *= 10) value += (*q - '0') * scale;
  return value;
}

static void take(Conn *c, char *start, char *end, u64 at) {
  static size_t stride = 1;
  char *p = start, *parsed = start, *before = NULL;
  for (;;) {
    char *guess = before ? before + stride : NULL;
    p = guess && guess + 4 <= end && !memcmp(guess, "\"t\":", 4) ? guess : memmem(p, end - p, "\"t\":", 4);
    if (!p) break;
    char *q = p + 4;
    while (q < end && *q == ' ') q++;
    u64 stamp = 0;
    while (q < end && *q >= '0' && *q <= '9') stamp = stamp * 10 + (*q++ - '0');
    if (q >= end) break;  // the number may go on in the next read
    long long n = counter_before(p, start);
    if (c->last >= 0 && n != c->last + 1) {
      if (n > c->last) lost += n - c->last - 1;
      else disordered++;
    }
    c->last = n;
    events++;
    record(latency, at - stamp);
    if (before) stride = p - before;
    before = p;
    parsed = p = q;
  }
  size_t rest = end - parsed;
  c->carried = rest > CARRY ? CARRY : rest;
  memcpy(c->carry, end - c->carried, c->carried);
}

static void drop(Conn *c) {
  close(c->fd);
  c->fd = -1;
  closed_by_peer++;
}

static void receive(Conn *c, u64 at) {
  ssize_t got = read(c->fd, buffer + CARRY, READ);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) drop(c);
    return;
  }
  reads++;
  bytes += got;
  if (!c->streaming) {
    c->streaming = 1;
    if (got > 12 && !memcmp(buffer + CARRY + 9, "200", 3)) streaming++;
    else failed++;
    record(opening, at - c->began);
    if (c->stalled) epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
  }
  memcpy(buffer + CARRY - c->carried, c->carry, c->carried);
  take(c, buffer + CARRY - c->carried, buffer + CARRY + got, at);
}

// --- publishing over HTTP: one connection, pipelined -------------------------------------------

static struct { int fd, port, pad, streams; u64 began, counter, produced, answered; double rate, seconds; char path[512]; } pub = {.fd = -1};
static u64 next_n[1 << 16];

static void publish_due(void) {
  static char out[1 << 20];
  double elapsed = (now() - pub.began) / 1e9;
  if (pub.fd < 0 || elapsed >= pub.seconds) return;
  long long due = (long long)(elapsed * pub.rate) - (long long)pub.produced;
  if ((long long)(pub.produced - pub.answered) > 2000) due = 0;  // the server is behind: do not bury it
  if (due > 500) due = 500;
  char *o = out;
  for (long long i = 0; i < due; i++) {
    int stream = pub.counter++ % pub.streams;
    char body[1024], path[600];
    int size = snprintf(body, sizeof body, "{\"n\":%llu,\"t\":%llu,\"p\":\"%.*s\"}", next_n[stream]++, now(), pub.pad,
      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    snprintf(path, sizeof path, pub.path, stream);
    o += sprintf(o, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, size, body);
    pub.produced++;
  }
  for (char *w = out; w < o;) {
    ssize_t sent = write(pub.fd, w, o - w);
    if (sent > 0) w += sent;
    else if (errno == EAGAIN) {  // read the answers: the server may wait for us to do so
      while (read(pub.fd, buffer, READ) > 0) {}
      usleep(100);
    } else { perror("publish"); close(pub.fd); pub.fd = -1; return; }
  }
}

static void publish_answers(void) {
  ssize_t got;
  while (pub.fd >= 0 && (got = read(pub.fd, buffer, READ)) > 0)
    for (char *p = buffer; (p = memmem(p, buffer + got - p, "HTTP/1.1 2", 10)); p += 10) pub.answered++;
}

// --- commands ----------------------------------------------------------------------------------

static void report(int reset) {
  u64 at = now(), spent = cpu();
  printf("{\"streaming\":%d,\"failed\":%d,\"closed\":%d,\"events\":%llu,\"bytes\":%llu,\"reads\":%llu,\"lost\":%llu,"
    "\"disordered\":%llu,\"seconds\":%.4f,\"cpu_s\":%.4f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,"
    "\"produced\":%llu,\"publishing\":%d}\n",
    streaming, failed, closed_by_peer, events, bytes, reads, lost, disordered, (at - mark_at) / 1e9,
    (spent - mark_cpu) / 1e6, quantile(latency, .5), quantile(latency, .99), quantile(latency, .999),
    pub.produced, pub.fd >= 0 && (now() - pub.began) / 1e9 < pub.seconds);
  if (!reset) return;
  events = bytes = reads = lost = disordered = 0;
  memset(latency, 0, sizeof latency);
  mark_at = at;
  mark_cpu = spent;
}

static void turn(int timeout_ms) {
  struct epoll_event ready[512];
  int count = epoll_wait(ep, ready, 512, timeout_ms);
  for (int i = 0; i < count; i++) {
    Conn *c = ready[i].data.ptr;
    if (c && c->fd >= 0) receive(c, now());
  }
  publish_due();
  publish_answers();
}

static void open_all(int count, int port, const char *file, int stalled_per_100) {
  static char paths[1 << 16][256];
  int path_count = 0;
  FILE *f = fopen(file, "r");
  while (f && path_count < 1 << 16 && fscanf(f, "%255s", paths[path_count]) == 1) path_count++;
  if (f) fclose(f);
  free(conns);
  conns = calloc(count, sizeof *conns);
  conn_count = count;
  streaming = failed = closed_by_peer = 0;
  memset(opening, 0, sizeof opening);
  u64 began = now();
  int opened = 0;
  while (streaming + failed + closed_by_peer < count && now() - began < 60000000000ull) {
    // At most 512 unanswered at once: more would measure the kernel's listen queue.
    while (opened < count && opened - streaming - failed - closed_by_peer < 512) {
      Conn *c = &conns[opened];
      char request[512];
      c->last = -1;
      c->began = now();
      c->stalled = stalled_per_100 && opened % 100 < stalled_per_100;
      char *path = paths[opened % path_count];
      int to = *path == ':' ? (int)strtol(path + 1, &path, 10) : port;
      c->fd = dial(to, 0);
      if (c->fd < 0) { failed++; opened++; continue; }
      int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n", path, to);
      if (write(c->fd, request, size) != size) failed++;
      fcntl(c->fd, F_SETFL, O_NONBLOCK);
      struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
      epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
      opened++;
    }
    turn(10);
  }
  printf("{\"streaming\":%d,\"failed\":%d,\"closed\":%d,\"seconds\":%.4f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", streaming, failed,
    closed_by_peer, (now() - began) / 1e9, quantile(opening, .5), quantile(opening, .99));
}

static void first(int count, int port, const char *path) {
  u64 histogram[BUCKETS] = {0};
  int good = 0;
  for (int i = 0; i < count; i++) {
    u64 began = now();
    int fd = dial(port, 0), size = 0;
    char request[512];
    struct timeval limit = {5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n", path, port);
    if (write(fd, request, length) == length)
      for (ssize_t got; (got = read(fd, buffer + size, READ - size)) > 0;) {
        size += got;
        if (memmem(buffer, size, "\"t\":", 4)) { record(histogram, now() - began); good++; break; }
      }
    close(fd);
  }
  printf("{\"count\":%d,\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f}\n", good, quantile(histogram, .5),
    quantile(histogram, .95), quantile(histogram, .99));
}

static void close_all(void) {
  for (int i = 0; i < conn_count; i++)
    if (conns[i].fd >= 0) close(conns[i].fd);
  conn_count = 0;
  if (pub.fd >= 0) close(pub.fd);
  pub.fd = -1;
  memset(next_n, 0, sizeof next_n);
  printf("{}\n");
}

static void publish(const char *line) {
  pub.began = now();
  pub.produced = pub.answered = pub.counter = 0;
  sscanf(line, "publish %d %500s %lf %lf %d %d", &pub.port, pub.path, &pub.rate, &pub.seconds, &pub.pad, &pub.streams);
  if (pub.fd < 0) {
    pub.fd = dial(pub.port, 0);
    fcntl(pub.fd, F_SETFL, O_NONBLOCK);
  }
  printf("{}\n");
}

int main(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(ep, EPOLL_CTL_ADD, 0, &e);
  fcntl(0, F_SETFL, O_NONBLOCK);
  mark_at = now();
  char line[1024];
  int size = 0;
  for (;;) {
    ssize_t got = read(0, line + size, sizeof line - 1 - size);
    if (got == 0) return 0;
    if (got > 0) size += got;
    char *newline = memchr(line, '\n', size);
    if (newline) {
      *newline = 0;
      char file[512] = "";
      int a = 0, b = 0, d = 0;
      if (sscanf(line, "connect %d %d %511s %d", &a, &b, file, &d) == 4) open_all(a, b, file, d);
      else if (sscanf(line, "first %d %d %511s", &a, &b, file) == 3) first(a, b, file);
      else if (!strcmp(line, "mark")) report(1);
      else if (!strcmp(line, "stat")) report(0);
      else if (!strncmp(line, "publish ", 8)) publish(line);
      else if (!strcmp(line, "close")) close_all();
      else if (!strcmp(line, "quit")) return 0;
      else printf("{\"error\":\"what is %s?\"}\n", line);
      fflush(stdout);
      size -= newline + 1 - line;
      memmove(line, newline + 1, size);
      continue;
    }
    turn(pub.fd >= 0 ? 1 : 50);
  }
}
