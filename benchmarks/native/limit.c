// The limit: the least a program can do to give N sockets the same bytes. Nothing is stored, parsed
// or awaited: a block of K events is formatted once and written to each socket in turn.
//
//   limit PORT           serves any GET with a chunked event stream
//   POST /go?rate=R&seconds=S&block=K   R events a second (0: as fast as the sockets take them),
//                                       K events in each write
//   GET /done            what it did
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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
static int watchers[1 << 16], watcher_count;
static u64 produced, counter;
static double rate, seconds, took;
static int block;

static u64 now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int format(char *out, int count) {
  static char body[1 << 22];
  char *o = body;
  for (int i = 0; i < count; i++, counter++)
    o += sprintf(o, "id: %llu\nevent: custom.bench\ndata: {\"id\":%llu,\"type\":\"custom.bench\",\"ts\":\"2026-11-21T07:00:00.000000Z\","
      "\"execution_id\":\"01M7YEBMSMVYWN9J0XAPTPCY3R\",\"attempt\":1,\"data\":{\"n\":%llu,\"t\":%llu,\"p\":\"xxxxxxxxxx\"}}\n\n",
      counter + 2, counter + 2, counter, now());
  int size = o - body, head = sprintf(out, "%x\r\n", size);
  memcpy(out + head, body, size);
  memcpy(out + head + size, "\r\n", 2);
  return head + size + 2;
}

static void broadcast(void) {
  static char out[(1 << 22) + 64];
  u64 began = now(), end = began + (u64)(seconds * 1e9);
  produced = 0;
  while (now() < end) {
    if (rate > 0) {
      double due = (now() - began) / 1e9 * rate - produced;
      if (due < block) { usleep(100); continue; }
    }
    int size = format(out, block);
    for (int i = 0; i < watcher_count; i++)
      for (int sent = 0; sent < size;) {
        ssize_t n = write(watchers[i], out + sent, size - sent);
        if (n <= 0) break;
        sent += n;
      }
    produced += block;
  }
  took = (now() - began) / 1e9;
}

static void answer(int fd, const char *status, const char *body) {
  char out[512];
  int n = sprintf(out, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s", status, strlen(body), body);
  if (write(fd, out, n) != n) perror("answer");
  close(fd);
}

static void serve(int fd) {
  char in[2048], body[256];
  ssize_t n = read(fd, in, sizeof in - 1);
  if (n <= 0) { close(fd); return; }
  in[n] = 0;
  if (sscanf(in, "POST /go?rate=%lf&seconds=%lf&block=%d", &rate, &seconds, &block) == 3) {
    answer(fd, "202 Accepted", "{}");
    broadcast();
  } else if (!strncmp(in, "GET /done", 9)) {
    sprintf(body, "{\"produced\":%llu,\"done\":true,\"seconds\":%.4f}", produced, took);
    answer(fd, "200 OK", body);
  } else if (!strncmp(in, "GET /paths", 10)) {
    answer(fd, "200 OK", "[\"/s\"]");
  } else {
    const char *head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    if (write(fd, head, strlen(head)) > 0 && watcher_count < 1 << 16) watchers[watcher_count++] = fd;
  }
}

int main(int count, char **arguments) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(arguments[1]) : 0)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096)) { perror("listen"); return 1; }
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    serve(fd);
  }
}
