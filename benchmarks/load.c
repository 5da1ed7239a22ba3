/* The load generator: many WebSocket clients in one thread on epoll.
 *
 *     load MODE HOST PORT SCRIPT SECONDS CONNECTIONS IN_FLIGHT RATE
 *
 * MODE
 *   fanout   IN_FLIGHT publishers; each sends its next when all connections have its last
 *   rate     one publisher, RATE publications a second; how long each delivery took
 *   echo     every connection sends, and waits for its answer before it sends again
 *   connect  connect, run the set-up, close, again; IN_FLIGHT at once
 *   idle     connect IN_FLIGHT, print "some", and, after a line of standard input, the rest;
 *            print "ready", and hold them until the next line
 *   storm    connect all, print "ready"; whoever is cut off comes back as a browser would (half a
 *            second, with jitter, doubled with each failure); until all are back
 *
 * PORT may be several, with commas between them: connections take them in turn. In a storm all begin
 * on the first, and come back to the others.
 *
 * SCRIPT has one line each of:  path /ws/ | send TEXT | wait TEXT | publish TEXT | client HEADER\tVALUE
 * `client` lines are taken in turn by the connections. In a text, $V is the client's VALUE, $N the
 * number of the publication: @@publisher.number@@, by which it is found again in what comes back.
 * `send` and `wait` are what a connection does first, in order.
 *
 * Every connection must get every publication exactly once, and each publisher's in their order;
 * otherwise the program says so and exits with 1. Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PORTS = 16, MAX_STEPS = 16, READ_SIZE = 1 << 20, CONNECTING_AT_ONCE = 64, PATIENCE_SECONDS = 30,
       CONNECT_SECONDS = 120 };
enum phase { CLOSED, CONNECTING, HANDSHAKE, SETUP, READY };

struct step { int is_wait; char *text; };
struct client { char *header, *value; };
struct connection {
    int fd, number, client, step;
    enum phase phase;
    uint8_t *rest;          /* an unfinished frame */
    size_t rest_size;
    uint32_t expected_echo;
    uint32_t *seen;         /* the newest number of each publisher */
    int port_place, failures;
    double lost_at, retry_at;
};

static char *mode, *host, *path = "/", *publish_text;
static int ports[MAX_PORTS], port_count, connection_count, in_flight, is_storm, losses, errors;
static double seconds, rate;
static struct step steps[MAX_STEPS];
static int step_count, client_count;
static struct client *clients;
static struct connection *connections;
static int epoll_fd, ready_count, connecting_count, next_to_connect, opened_count;
static uint64_t deliveries, rounds, handshakes, bytes_read;
static uint32_t *sent_number, *delivered_count;
static double *sent_at;
static float *waits;
static size_t wait_count, wait_room;
static int measuring, stopping;
static uint8_t *buffer;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void read_script(const char *name) {
    FILE *file = fopen(name, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    if (!file) fail("cannot read %s", name);
    while ((size = getline(&line, &room, file)) > 0) {
        if (line[size - 1] == '\n') line[size - 1] = 0;
        char *rest = strchr(line, ' ');
        if (!rest) continue;
        *rest++ = 0;
        rest = strdup(rest);
        if (!strcmp(line, "path")) path = rest;
        else if (!strcmp(line, "publish")) publish_text = rest;
        else if (!strcmp(line, "send") || !strcmp(line, "wait")) {
            if (step_count == MAX_STEPS) fail("too many steps");
            steps[step_count++] = (struct step){line[0] == 'w', rest};
        } else if (!strcmp(line, "client")) {
            char *tab = strchr(rest, '\t');
            if (tab) *tab++ = 0;
            clients = realloc(clients, (client_count + 1) * sizeof *clients);
            clients[client_count++] = (struct client){rest, tab ? tab : ""};
        } else fail("unknown line: %s", line);
    }
    fclose(file);
}

static struct client *client_of(struct connection *c) {
    static struct client none = {"", ""};
    return client_count ? &clients[c->client % client_count] : &none;
}

static int port_of(struct connection *c) {
    /* In a storm all begin on the first, and come back to the others. */
    if (is_storm && port_count > 1) return ports[c->port_place ? 1 + (c->number + c->port_place) % (port_count - 1) : 0];
    return ports[(c->number + c->port_place) % port_count];
}

/* The connection is gone, or never came to be: it comes back, where that is what is measured. */
static void lost(struct connection *c, const char *format, ...) {
    if (!is_storm) {
        char words[200];
        va_list args;
        va_start(args, format);
        vsnprintf(words, sizeof words, format, args);
        va_end(args);
        fail("connection %d: %s", c->number, words);
    }
    if (c->phase == CLOSED) return;
    if (c->phase == READY) ready_count--, losses++, c->failures = 0, c->lost_at = now();
    else connecting_count--, errors++, c->failures++;
    close(c->fd);
    c->phase = CLOSED;
    c->port_place++;
    double delay = 0.5 * (1 << (c->failures < 5 ? c->failures : 5));
    c->retry_at = now() + delay * (0.5 + drand48());
}

static void write_all(struct connection *c, const void *data, size_t size) {
    ssize_t written = send(c->fd, data, size, MSG_NOSIGNAL);
    if (written != (ssize_t)size) lost(c, "could not send: %s", strerror(errno));
}

/* Masked with the key 0, which changes nothing. */
static void send_text(struct connection *c, const char *text, uint32_t number) {
    static uint8_t frame[70000];
    char *body = (char *)frame + 8;
    size_t size = 0;
    for (const char *at = text; *at; at++) {
        if (at[0] == '$' && at[1] == 'V') size += sprintf(body + size, "%s", client_of(c)->value), at++;
        else if (at[0] == '$' && at[1] == 'N') size += sprintf(body + size, "@@%d.%u@@", c->number, number), at++;
        else body[size++] = *at;
        if (size > 60000) fail("the text is too long");
    }
    uint8_t *start = size < 126 ? frame + 2 : frame;
    start[0] = 0x81;
    if (size < 126) start[1] = 0x80 | size;
    else start[1] = 0x80 | 126, start[2] = size >> 8, start[3] = size & 255;
    memset(frame + 4, 0, 4);
    write_all(c, start, frame + 8 + size - start);
}

static void publish(struct connection *c) {
    uint32_t number = ++sent_number[c->number];
    delivered_count[c->number] = 0;
    sent_at[c->number * 4096L + number % 4096] = now();
    send_text(c, publish_text, number);
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port_of(c))};
    int one = 1;
    inet_pton(AF_INET, host, &address.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    c->phase = CONNECTING;
    /* Where connections come and go, each is another client's. */
    c->client = strcmp(mode, "connect") ? c->number : opened_count++;
    c->step = 0;
    c->rest_size = 0;
    connecting_count++;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void close_connection(struct connection *c) {
    static const uint8_t frame[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
    struct linger at_once = {1, 0};
    send(c->fd, frame, sizeof frame, MSG_NOSIGNAL);
    /* A reset, so that thousands of closed connections do not use up the ports. */
    if (!strcmp(mode, "connect")) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(c->fd);
    c->phase = CLOSED;
}

static void send_handshake(struct connection *c) {
    char request[8192];
    int size = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s\r\n",
        path, host, port_of(c), client_of(c)->header, client_of(c)->header[0] ? "\r\n" : "");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->phase = HANDSHAKE;
    write_all(c, request, size);
}

static void record_wait(double wait) {
    if (wait_count == wait_room) waits = realloc(waits, (wait_room = wait_room ? wait_room * 2 : 65536) * sizeof *waits);
    waits[wait_count++] = wait;
}

static void set_up(struct connection *c) {
    while (c->step < step_count && !steps[c->step].is_wait) send_text(c, steps[c->step++].text, 0);
    if (c->step < step_count || c->phase == CLOSED) return;
    c->phase = READY;
    connecting_count--;
    ready_count++;
    handshakes++;
    if (c->lost_at) record_wait(now() - c->lost_at), c->lost_at = 0;
    if (!strcmp(mode, "connect")) {
        close_connection(c);
        if (!stopping) open_connection(c);
    }
}

static void delivered(struct connection *c, uint32_t publisher, uint32_t number) {
    if (!strcmp(mode, "echo")) {
        if ((int)publisher != c->number || number != sent_number[c->number])
            fail("connection %d: got %u.%u instead of the answer to %u", c->number, publisher, number, sent_number[c->number]);
        if (measuring) {
            rounds++;
            record_wait(now() - sent_at[c->number * 4096L + number % 4096]);
        }
        if (!stopping) publish(c);
        return;
    }
    if ((int)publisher >= in_flight) fail("an unknown publisher: %u", publisher);
    if (number != c->seen[publisher] + 1)
        fail("connection %d: %u.%u came behind %u.%u", c->number, publisher, number, publisher, c->seen[publisher]);
    c->seen[publisher] = number;
    if (measuring) {
        deliveries++;
        if (rate > 0) record_wait(now() - sent_at[publisher * 4096L + number % 4096]);
    }
    if (rate > 0 || number != sent_number[publisher]) return;
    if (++delivered_count[publisher] == (uint32_t)connection_count) {
        if (measuring) rounds++;
        if (!stopping) publish(&connections[publisher]);
    }
}

static void text_received(struct connection *c, uint8_t *text, size_t size) {
    if (size == 1 && text[0] == '2') { send_text(c, "3", 0); return; } /* Socket.IO's ping */
    if (c->phase == SETUP) {
        const char *wanted = steps[c->step].text;
        if (memmem(text, size, wanted, strlen(wanted))) { c->step++; set_up(c); }
        return;
    }
    uint8_t *mark = memmem(text, size, "@@", 2);
    if (!mark) return;
    uint32_t publisher = 0, number = 0;
    for (mark += 2; *mark >= '0' && *mark <= '9'; mark++) publisher = publisher * 10 + *mark - '0';
    for (mark += 1; *mark >= '0' && *mark <= '9'; mark++) number = number * 10 + *mark - '0';
    delivered(c, publisher, number);
}

/* How much of `data` was whole frames. */
static size_t take_frames(struct connection *c, uint8_t *data, size_t size) {
    size_t at = 0;
    while (size - at >= 2 && c->phase != CLOSED && c->phase != CONNECTING) {
        size_t head = 2, length = data[at + 1] & 127;
        if (length == 126) {
            if (size - at < 4) break;
            length = data[at + 2] << 8 | data[at + 3], head = 4;
        } else if (length == 127) {
            if (size - at < 10) break;
            head = 10, length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | data[at + i];
        }
        if (size - at < head + length) break;
        int opcode = data[at] & 15;
        if (opcode == 1 || opcode == 2) text_received(c, data + at + head, length);
        else if (opcode == 9) {
            uint8_t pong[6 + 125] = {0x8a, 0x80 | length};
            memcpy(pong + 6, data + at + head, length);
            write_all(c, pong, 6 + length);
        } else if (opcode == 8) lost(c, "closed by the server with %d: %.*s",
            length > 1 ? data[at + head] << 8 | data[at + head + 1] : 1005, length > 2 ? (int)length - 2 : 0, data + at + head + 2);
        at += head + length;
    }
    return at;
}

static void readable(struct connection *c) {
    memcpy(buffer, c->rest, c->rest_size);
    ssize_t got = recv(c->fd, buffer + c->rest_size, READ_SIZE - c->rest_size - 1, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        lost(c, "gone: %s", got ? strerror(errno) : "end of file");
        return;
    }
    bytes_read += got;
    size_t size = c->rest_size + got, at = 0;
    buffer[size] = 0;
    if (c->phase == HANDSHAKE) {
        uint8_t *end = memmem(buffer, size, "\r\n\r\n", 4);
        if (end) {
            if (memcmp(buffer + 9, "101", 3)) {
                lost(c, "refused: %.60s", (char *)buffer);
                return;
            }
            at = end + 4 - buffer;
            c->phase = SETUP;
            set_up(c);
        }
    }
    int fd = c->fd;
    if (c->phase != HANDSHAKE) at += take_frames(c, buffer + at, size - at);
    if (c->phase == CLOSED || c->phase == CONNECTING || c->fd != fd) return;
    c->rest_size = size - at;
    c->rest = realloc(c->rest, c->rest_size + 1);
    memcpy(c->rest, buffer + at, c->rest_size);
}

static void turn(int timeout_ms) {
    struct epoll_event events[512];
    int count = epoll_wait(epoll_fd, events, 512, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->phase == CLOSED) continue;
        if (c->phase == CONNECTING && events[i].events & EPOLLERR) lost(c, "could not connect");
        else if (c->phase == CONNECTING) send_handshake(c);
        else readable(c);
    }
}

static void connect_up_to(int count) {
    double deadline = now() + CONNECT_SECONDS;
    while (ready_count < count) {
        while (next_to_connect < count && connecting_count < CONNECTING_AT_ONCE)
            open_connection(&connections[next_to_connect++]);
        turn(100);
        if (now() > deadline) fail("only %d of %d connections became ready", ready_count, count);
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Until whoever was cut off is back; prints what that took. */
static int weather_storm(void) {
    double first = 0, deadline = now() + seconds;
    while (!losses || ready_count < connection_count) {
        if (now() > deadline) fail("%d of %d are back after %g s", ready_count, connection_count, seconds);
        if (losses && !first) first = now();
        for (int i = 0; i < connection_count; i++)
            if (connections[i].phase == CLOSED && connections[i].retry_at <= now()) open_connection(&connections[i]);
        turn(5);
    }
    qsort(waits, wait_count, sizeof *waits, by_size);
    printf("{\"seconds\": %.3f, \"lost\": %d, \"errors\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", now() - first,
           losses, errors, waits[wait_count / 2] * 1e3, waits[(size_t)(wait_count * 0.99)] * 1e3);
    return 0;
}

static void wait_for_line(void) {
    for (int letter = 0; letter != '\n' && letter != EOF; letter = getchar()) {}
}

static void run_for(double duration) {
    double end = now() + duration, next = now();
    while (now() < end) {
        int timeout = 10;
        if (rate > 0 && !stopping) {
            while (next <= now()) publish(&connections[0]), next += 1 / rate;
            timeout = 1;
        }
        turn(timeout);
    }
}

static int is_whole(void) {
    if (!strcmp(mode, "echo") || !strcmp(mode, "connect")) return 1;
    for (int i = 0; i < connection_count; i++)
        for (int p = 0; p < in_flight; p++)
            if (connections[i].seen[p] != sent_number[p]) return 0;
    return 1;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

int main(int count, char **args) {
    if (count != 9) fail("see the head of load.c");
    mode = args[1], host = args[2], is_storm = !strcmp(mode, "storm");
    for (char *one = strtok(args[3], ","); one && port_count < MAX_PORTS; one = strtok(NULL, ",")) ports[port_count++] = atoi(one);
    read_script(args[4]);
    seconds = atof(args[5]), connection_count = atoi(args[6]), in_flight = atoi(args[7]), rate = atof(args[8]);
    if (strcmp(mode, "rate")) rate = 0; else in_flight = 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    epoll_fd = epoll_create1(0);
    buffer = malloc(READ_SIZE + 1);
    connections = calloc(connection_count, sizeof *connections);
    sent_number = calloc(connection_count, sizeof *sent_number);
    delivered_count = calloc(connection_count, sizeof *delivered_count);
    sent_at = calloc(connection_count * 4096L, sizeof *sent_at);
    for (int i = 0; i < connection_count; i++) {
        connections[i].number = i;
        connections[i].seen = calloc(in_flight, sizeof(uint32_t));
    }
    if (!strcmp(mode, "connect")) {
        for (int i = 0; i < in_flight; i++) open_connection(&connections[i]);
    } else if (!strcmp(mode, "idle")) {
        connect_up_to(in_flight);
        printf("some\n");
        wait_for_line();
        connect_up_to(connection_count);
        printf("ready\n");
        wait_for_line();
        return 0;
    } else {
        connect_up_to(connection_count);
    }
    printf("ready\n");
    if (is_storm) return weather_storm();
    int starters = !strcmp(mode, "echo") ? connection_count : !strcmp(mode, "fanout") ? in_flight : 0;
    for (int i = 0; i < starters; i++) publish(&connections[i]);
    run_for(seconds * 0.25); /* to warm up */
    measuring = 1;
    deliveries = rounds = handshakes = wait_count = bytes_read = 0;
    printf("measuring\n");
    double start = now(), cpu = cpu_seconds();
    run_for(seconds);
    double took = now() - start;
    cpu = cpu_seconds() - cpu;
    measuring = 0;
    uint64_t done = handshakes;
    printf("measured\n");
    stopping = 1;
    double deadline = now() + PATIENCE_SECONDS;
    while (!is_whole())
        if (turn(10), now() > deadline) fail("publications are missing after %d s", PATIENCE_SECONDS);
    qsort(waits, wait_count, sizeof *waits, by_size);
    double p50 = wait_count ? waits[wait_count / 2] : 0, p99 = wait_count ? waits[(size_t)(wait_count * 0.99)] : 0;
    printf("{\"seconds\": %.3f, \"deliveries\": %lu, \"rounds\": %lu, \"handshakes\": %lu, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"load_cpu\": %.3f, \"bytes\": %lu}\n",
           took, deliveries, rounds, done, p50 * 1e3, p99 * 1e3, cpu / took, bytes_read);
    return 0;
}
