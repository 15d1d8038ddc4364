/* The application model in C: a thread per connection, blocking sockets, and a pool of connections per backend behind a mutex. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, BACKLOG = 1024, STACK_BYTES = 256 * 1024 };

/* Connections to one backend. Who finds none waits until one is given back. */
struct pool {
    struct sockaddr_in address;
    char host[64];
    pthread_mutex_t mutex;
    pthread_cond_t given_back;
    int idle[4096];
    int idle_count, open_count;
};

static struct pool first = {.mutex = PTHREAD_MUTEX_INITIALIZER, .given_back = PTHREAD_COND_INITIALIZER};
static struct pool second = {.mutex = PTHREAD_MUTEX_INITIALIZER, .given_back = PTHREAD_COND_INITIALIZER};
static int limit;
static const char *passed_on;

static void no_delay(int socket) {
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int take(struct pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    while (pool->idle_count == 0 && limit > 0 && pool->open_count >= limit)
        pthread_cond_wait(&pool->given_back, &pool->mutex);
    int connection = pool->idle_count > 0 ? pool->idle[--pool->idle_count] : -1;
    if (connection < 0)
        pool->open_count++;
    pthread_mutex_unlock(&pool->mutex);
    if (connection >= 0)
        return connection;
    connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&pool->address, sizeof pool->address) != 0)
        err(1, "no connection to %s", pool->host);
    no_delay(connection);
    return connection;
}

static void give_back(struct pool *pool, int connection) {
    pthread_mutex_lock(&pool->mutex);
    if (pool->idle_count < 4096)
        pool->idle[pool->idle_count++] = connection;
    else {
        close(connection);
        pool->open_count--;
    }
    pthread_cond_signal(&pool->given_back);
    pthread_mutex_unlock(&pool->mutex);
}

static int write_all(int socket, const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = send(socket, text, length, MSG_NOSIGNAL);
        if (written <= 0)
            return -1;
        text += written;
        length -= written;
    }
    return 0;
}

/* Reads a message whose body, if any, has a Content-Length. Gives 0 at the end of the connection. */
static int read_message(int socket, char *head) {
    size_t have = 0;
    for (;;) {
        ssize_t got = recv(socket, head + have, HEAD_BYTES - 1 - have, 0);
        if (got <= 0)
            return 0;
        have += got;
        head[have] = 0;
        char *end = strstr(head, "\r\n\r\n");
        if (end == NULL)
            continue;
        char *length = strcasestr(head, "\r\ncontent-length:");
        size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if (have >= (size_t)(end + 4 - head) + body)
            return 1;
    }
}

static int ask(struct pool *pool, char call, const char *token, const char *trace) {
    char request[1024];
    int length = snprintf(request, sizeof request, "GET /%c/%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n%s\r\n", call, token, pool->host, trace);
    int connection = take(pool);
    if (write_all(connection, request, length) != 0)
        errx(1, "%s ended a connection", pool->host);
    return connection;
}

static void get_answer(struct pool *pool, int connection) {
    char head[HEAD_BYTES];
    if (!read_message(connection, head))
        errx(1, "%s ended a connection", pool->host);
    give_back(pool, connection);
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

static void *serve(void *argument) {
    int client = (int)(long)argument;
    char head[HEAD_BYTES], token[64];
    while (read_message(client, head)) {
        char trace[256] = "";
        char *header = passed_on != NULL ? strcasestr(head, passed_on) : NULL;
        if (header != NULL)
            snprintf(trace, sizeof trace, "%.*s\r\n", (int)strcspn(header, "\r"), header);
        if (sscanf(head, "GET /work/%63[^ /?]", token) != 1)
            break;
        get_answer(&first, ask(&first, 'a', token, trace));
        compute();
        get_answer(&second, ask(&second, 'b', token, trace));
        int c = ask(&first, 'c', token, trace), d = ask(&second, 'd', token, trace);
        get_answer(&first, c);
        get_answer(&second, d);
        static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nwork\n";
        if (write_all(client, answer, sizeof answer - 1) != 0)
            break;
    }
    close(client);
    return NULL;
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
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&listen_at, sizeof listen_at) != 0 || listen(listener, BACKLOG) != 0)
        err(1, "cannot listen");
    puts("listening");
    fflush(stdout);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            err(1, "cannot accept");
        no_delay(client);
        pthread_t thread;
        if (pthread_create(&thread, &attributes, serve, (void *)(long)client) != 0)
            errx(1, "no thread");
    }
}
