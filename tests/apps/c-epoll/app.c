/* The application model in C: one thread, epoll, and a pool of connections per backend with a queue of those who wait for one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096, REQUEST_BYTES = 512, BACKLOG = 1024, EVENTS = 64, IDLE = 4096 };

struct request;

/* A call that waits for a connection. */
struct waiter {
    struct waiter *next;
    struct request *request;
    char call;
};

/* Connections to one backend. */
struct pool {
    struct sockaddr_in address;
    char host[64];
    struct connection *idle[IDLE];
    int idle_count, open_count;
    struct waiter *oldest, *newest;
};

/* A client's connection if it has no pool. */
struct connection {
    int socket;
    struct pool *pool;
    struct request *request;
    int is_connecting;
    char call;
    size_t have;
    char head[HEAD_BYTES];
};

struct request {
    /* Unless it left. */
    struct connection *client;
    int missing;
    char token[64], trace[256];
};

static struct pool first, second;
static int limit, epoll_fd;
static const char *passed_on;

static void watch(struct connection *connection, int operation, int events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, operation, connection->socket, &event) != 0)
        err(1, "epoll_ctl");
}

static struct connection *new_connection(int socket, struct pool *pool, int events) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        errx(1, "no memory");
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection->socket = socket;
    connection->pool = pool;
    watch(connection, EPOLL_CTL_ADD, events);
    return connection;
}

/* What is sent is short and the connection waits for nothing else, so it always fits. */
static void send_text(struct connection *connection, const char *text, int length) {
    if (send(connection->socket, text, length, MSG_NOSIGNAL) != length && connection->pool != NULL)
        errx(1, "%s ended a connection", connection->pool->host);
}

static void send_call(struct connection *connection) {
    struct request *request = connection->request;
    char text[REQUEST_BYTES];
    int length = snprintf(text, sizeof text, "GET /%c/%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n%s\r\n", connection->call,
                          request->token, connection->pool->host, request->trace);
    send_text(connection, text, length);
}

static void assign(struct connection *connection, struct request *request, char call) {
    connection->request = request;
    connection->call = call;
    if (!connection->is_connecting)
        send_call(connection);
}

static void call(struct pool *pool, struct request *request, char call) {
    request->missing++;
    if (pool->idle_count > 0) {
        assign(pool->idle[--pool->idle_count], request, call);
    } else if (limit == 0 || pool->open_count < limit) {
        int opened = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (opened < 0 || (connect(opened, (struct sockaddr *)&pool->address, sizeof pool->address) != 0 && errno != EINPROGRESS))
            err(1, "no connection to %s", pool->host);
        pool->open_count++;
        struct connection *connection = new_connection(opened, pool, EPOLLOUT);
        connection->is_connecting = 1;
        assign(connection, request, call);
    } else {
        struct waiter *waiter = calloc(1, sizeof *waiter);
        if (waiter == NULL)
            errx(1, "no memory");
        waiter->request = request;
        waiter->call = call;
        if (pool->oldest == NULL)
            pool->oldest = waiter;
        else
            pool->newest->next = waiter;
        pool->newest = waiter;
    }
}

/* Gives a connection to the oldest of those who wait for one. */
static void give_back(struct connection *connection) {
    struct pool *pool = connection->pool;
    struct waiter *waiter = pool->oldest;
    if (waiter != NULL) {
        pool->oldest = waiter->next;
        assign(connection, waiter->request, waiter->call);
        free(waiter);
    } else if (pool->idle_count < IDLE) {
        pool->idle[pool->idle_count++] = connection;
    } else {
        errx(1, "more than %d connections to %s", IDLE, pool->host);
    }
}

/* 50 to 100 microseconds. */
static void compute(void) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    long wanted = 50000 + start.tv_nsec / 64 % 50000;
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < wanted);
}

static void answered(struct request *request, char answered_call) {
    if (--request->missing > 0)
        return;
    if (answered_call == 'a') {
        compute();
        call(&second, request, 'b');
    } else if (answered_call == 'b') {
        call(&first, request, 'c');
        call(&second, request, 'd');
    } else {
        static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nwork\n";
        if (request->client != NULL) {
            send_text(request->client, answer, sizeof answer - 1);
            request->client->request = NULL;
        }
        free(request);
    }
}

static void asked(struct connection *client) {
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL || sscanf(client->head, "GET /work/%63[^ /?]", request->token) != 1)
        errx(1, "a request of another kind");
    char *header = passed_on != NULL ? strcasestr(client->head, passed_on) : NULL;
    if (header != NULL)
        snprintf(request->trace, sizeof request->trace, "%.*s\r\n", (int)strcspn(header, "\r"), header);
    request->client = client;
    client->request = request;
    call(&first, request, 'a');
}

/* Whether a whole message is there, whose body, if any, has a Content-Length. */
static int is_whole(struct connection *connection) {
    connection->head[connection->have] = 0;
    char *end = strstr(connection->head, "\r\n\r\n");
    if (end == NULL)
        return 0;
    char *length = strcasestr(connection->head, "\r\ncontent-length:");
    size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return connection->have >= (size_t)(end + 4 - connection->head) + body;
}

static void readable(struct connection *connection) {
    ssize_t got = recv(connection->socket, connection->head + connection->have, HEAD_BYTES - 1 - connection->have, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        if (connection->pool != NULL)
            errx(1, "%s ended a connection", connection->pool->host);
        if (connection->request != NULL)
            connection->request->client = NULL;
        close(connection->socket);
        free(connection);
        return;
    }
    connection->have += got;
    if (!is_whole(connection))
        return;
    connection->have = 0;
    if (connection->pool == NULL) {
        asked(connection);
        return;
    }
    struct request *request = connection->request;
    char call = connection->call;
    give_back(connection);
    answered(request, call);
}

static void connected(struct connection *connection) {
    connection->is_connecting = 0;
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
    send_call(connection);
}

static struct sockaddr_in address(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    unsigned short port;
    if (sscanf(text, "%63[0-9.]:%hu", host, &port) != 2 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
        errx(2, "%s is no address", text);
    address.sin_port = htons(port);
    return address;
}

int main(int count, char **arguments) {
    struct sockaddr_in listen_at = {0};
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (strcmp(name, "--listen") == 0)
            listen_at = address(value);
        else if (strcmp(name, "--pool") == 0)
            limit = atoi(value);
        else if (strcmp(name, "--pass") == 0)
            passed_on = value;
        else {
            struct pool *pool = strcmp(name, "--first") == 0 ? &first : &second;
            pool->address = address(value);
            snprintf(pool->host, sizeof pool->host, "%s", value);
        }
    }
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&listen_at, sizeof listen_at) != 0 || listen(listener, BACKLOG) != 0)
        err(1, "cannot listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) != 0)
        err(1, "epoll");
    puts("listening");
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) {
                int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (client >= 0)
                    new_connection(client, NULL, EPOLLIN);
            } else if (connection->is_connecting) {
                connected(connection);
            } else {
                readable(connection);
            }
        }
    }
}
