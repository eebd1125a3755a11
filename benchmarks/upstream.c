/* An inference server that is never what limits a measurement: ready answers, a thread a connection.
 *
 *   upstream WORDS BURST DELAY_MS
 *
 * listens on a free port of 127.0.0.1 and says which. A chat completion is answered at once; a streamed one with so
 * many words, BURST of them in one write, and DELAY_MS between two writes. Whatever is asked with GET is answered
 * with a list of one model, by which gateways find out what stands behind them.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES (256 * 1024)
#define BLOCK_BYTES (64 * 1024)
#define CHUNK_BYTES 512

static const char ANSWER[] =
    "{\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion\",\"created\":1733000000,\"model\":\"gpt-4o\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"w0 w1 w2 w3 w4 w5 w6 w7\","
    "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":8,\"total_tokens\":19}}";

static const char MODELS[] = "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o\",\"object\":\"model\","
                             "\"created\":1733000000,\"owned_by\":\"upstream\"}]}";

static int words, burst, delay_ms;

static int send_all(int to, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = send(to, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static int answer(int to, const char *body) {
    char all[4096];
    int size = snprintf(all, sizeof all,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                        strlen(body), body);
    return send_all(to, all, (size_t)size);
}

/* One server-sent event as a chunk of the coding; its size. */
static int event(char *out, int word) {
    char data[CHUNK_BYTES];
    int size = snprintf(data, sizeof data,
                        "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\","
                        "\"created\":1733000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{%s"
                        "\"content\":\"w%d \"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
                        word ? "" : "\"role\":\"assistant\",", word, word == words - 1 ? "\"stop\"" : "null");
    return sprintf(out, "%x\r\n%s\r\n", size, data);
}

static int stream(int to) {
    static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                               "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    static const char END[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    struct timespec pause = {delay_ms / 1000, delay_ms % 1000 * 1000000L};
    char block[BLOCK_BYTES];
    size_t size = sizeof HEAD - 1;
    memcpy(block, HEAD, size);
    for (int word = 0; word < words; word++) {
        size += (size_t)event(block + size, word);
        if ((word + 1) % burst && size < BLOCK_BYTES - 2 * CHUNK_BYTES) continue;
        if (send_all(to, block, size)) return -1;
        size = 0;
        if (delay_ms) nanosleep(&pause, NULL);
    }
    memcpy(block + size, END, sizeof END - 1);
    return send_all(to, block, size + sizeof END - 1);
}

/* Have at least ``wanted`` bytes of a request; 0 where the other side has left, or says more than any of ours. */
static int fill(int from, char *request, size_t *have, size_t wanted) {
    if (wanted >= REQUEST_BYTES) return 0;
    while (*have < wanted) {
        ssize_t came = recv(from, request + *have, REQUEST_BYTES - 1 - *have, 0);
        if (came <= 0) return 0;
        *have += (size_t)came;
        request[*have] = 0;
    }
    return 1;
}

/* The size of a body that comes in chunks and ends with the last of them; 0 where it breaks off. */
static size_t chunked(int from, char *request, size_t head, size_t *have) {
    char *end;
    while (!(end = strstr(request + head, "0\r\n\r\n")))
        if (!fill(from, request, have, *have + 1)) return 0;
    return (size_t)(end + 5 - (request + head));
}

static size_t body_of(int from, char *request, size_t head, size_t *have) {
    size_t length = 0;
    for (char *line = strstr(request, "\r\n"); line && line < request + head - 4; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15)) length = strtoul(line + 17, NULL, 10);
        if (!strncasecmp(line + 2, "transfer-encoding: chunked", 26)) return chunked(from, request, head, have);
    }
    return length;
}

static void *serve(void *given) {
    int client = (int)(long)given, one = 1;
    char *request = calloc(1, REQUEST_BYTES), *end;
    size_t have = 0;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (;;) {
        request[have] = 0;
        while (!(end = strstr(request, "\r\n\r\n")))
            if (!fill(client, request, &have, have + 1)) goto gone;
        size_t head = (size_t)(end + 4 - request);
        size_t whole = head + body_of(client, request, head, &have);
        if (!fill(client, request, &have, whole)) goto gone;
        int streams = strstr(request + head, "\"stream\":true") || strstr(request + head, "\"stream\": true");
        int failed = strncmp(request, "POST", 4) ? answer(client, MODELS) : streams ? stream(client) : answer(client, ANSWER);
        if (failed) goto gone;
        memmove(request, request + whole, have - whole);
        have -= whole;
    }
gone:
    close(client);
    free(request);
    return NULL;
}

int main(int count, char **given) {
    if (count != 4 || (words = atoi(given[1])) < 1 || (burst = atoi(given[2])) < 1 || (delay_ms = atoi(given[3])) < 0) {
        fprintf(stderr, "upstream WORDS BURST DELAY_MS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (void *)&address, size) || listen(listener, 1024) ||
        getsockname(listener, (void *)&address, &size)) {
        perror("upstream");
        return 1;
    }
    printf("upstream: ready on http://127.0.0.1:%d/v1\n", ntohs(address.sin_port));
    fflush(stdout);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        pthread_t thread;
        if (client < 0) continue;
        if (pthread_create(&thread, &small, serve, (void *)(long)client)) close(client);
        else pthread_detach(thread);
    }
}
