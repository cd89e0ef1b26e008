/* Those who are attached to an app's streams: each has a connection to a socket in the pod's directory, over which go
 * packets of a kind and data. The first says whom it wants: ATTACH, the streams (a bit for each number), the app. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#define MAX_CLIENTS 32
#define MAX_INPUTS 256
#define PACKET 4096
/* What a client may be behind with; one that is further behind is let go, since it must not hold up the app. */
#define BACKLOG (4 << 20)

enum kind {
	ATTACH = 'a', /* client: streams, app */
	ACCEPT = 'y', /* keeper: a byte, 1 for a terminal */
	REFUSE = 'n', /* keeper: an errno */
	INPUT = 'i',  /* client: bytes for stdin */
	END = 'e',    /* client: the end of stdin */
	WINDOW = 'w', /* client: rows and columns, 16 bits each, little endian */
	OUTPUT = 'o', /* keeper: bytes of stdout, or of the terminal */
	ERRORS = 'r', /* keeper: bytes of stderr */
};

static struct input {
	const char *app; /* NULL: free */
	int fd;          /* of a pipe, or a terminal's master */
	bool tty;
	size_t at, end;  /* of what could not be written yet */
	char pending[PACKET];
} inputs[MAX_INPUTS];

static struct client {
	int fd;          /* -1 or, with no app, 0: free */
	const char *app; /* "" before it has said whom it wants */
	unsigned streams;
} clients[MAX_CLIENTS];

static int listener = -1;

static struct input *input_of(const char *app)
{
	for (size_t i = 0; i < MAX_INPUTS && app != NULL; i++)
		if (inputs[i].app != NULL && strcmp(inputs[i].app, app) == 0)
			return &inputs[i];
	return NULL;
}

static void let_go(struct client *client)
{
	watch_drop(client->fd);
	close(client->fd);
	client->app = NULL;
}

static bool send_packet(const struct client *client, char kind, const void *data, size_t size)
{
	struct iovec parts[2] = {{.iov_base = &kind, .iov_len = 1}, {.iov_base = (void *)(uintptr_t)data, .iov_len = size}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	return sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size + 1;
}

void attach_output(const char *app, int source, const char *data, size_t size)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *client = &clients[i];

		if (client->app == NULL || (client->streams & 1U << source) == 0 || strcmp(client->app, app) != 0)
			continue;
		if (!send_packet(client, source == 1 ? OUTPUT : ERRORS, data, size))
			let_go(client);
	}
}

void attach_over(const char *app)
{
	struct input *input = input_of(app);

	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (clients[i].app != NULL && strcmp(clients[i].app, app) == 0)
			let_go(&clients[i]);
	if (input != NULL)
		attach_input(app, -1, false);
}

static void input_over(struct input *input)
{
	watch_drop(input->fd);
	close(input->fd);
	input->app = NULL;
}

int attach_input(const char *app, int fd, bool tty)
{
	struct input *input = input_of(app);

	if (input != NULL)
		input_over(input);
	if (fd < 0)
		return 0;
	for (input = inputs; input < inputs + MAX_INPUTS && input->app != NULL; input++)
		;
	if (input == inputs + MAX_INPUTS)
		return ENFILE;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return errno;
	input->app = app;
	input->fd = fd;
	input->tty = tty;
	input->at = input->end = 0;
	return 0;
}

/* Clients of an input that takes no more wait. */
static void hold_clients(const char *app, bool hold)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (clients[i].app != NULL && strcmp(clients[i].app, app) == 0)
			watch_set(clients[i].fd, hold ? 0 : POLLIN);
}

static void write_pending(struct input *input);

static void input_ready(void *owner, short events)
{
	struct input *input = owner;

	(void)events;
	watch_drop(input->fd);
	hold_clients(input->app, false);
	write_pending(input);
}

static void write_pending(struct input *input)
{
	while (input->at < input->end) {
		ssize_t n = write(input->fd, input->pending + input->at, input->end - input->at);

		if (n < 0 && errno == EAGAIN) {
			hold_clients(input->app, true);
			if (watch_add(input->fd, POLLOUT, input_ready, input) == 0)
				return;
		}
		if (n < 0) {
			/* Nobody reads it any more. */
			hold_clients(input->app, false);
			input_over(input);
			return;
		}
		input->at += (size_t)n;
	}
}

static void take_input(struct input *input, const char *data, size_t size)
{
	memcpy(input->pending, data, size);
	input->at = 0;
	input->end = size;
	write_pending(input);
}

static void take_packet(struct client *client, const unsigned char *packet, size_t size)
{
	struct input *input = input_of(client->app);
	const char *data = (const char *)packet + 1;

	if (input == NULL || (client->streams & 1) == 0)
		return;
	if (packet[0] == INPUT && size > 1) {
		take_input(input, data, size - 1);
	} else if (packet[0] == END && !input->tty) {
		input_over(input);
	} else if (packet[0] == WINDOW && size == 5 && input->tty) {
		struct winsize window = {
			.ws_row = (unsigned short)(packet[1] | packet[2] << 8), .ws_col = (unsigned short)(packet[3] | packet[4] << 8),
		};

		ioctl(input->fd, TIOCSWINSZ, &window);
	}
}

static void greet(struct client *client, const char *packet, size_t size)
{
	const struct task *app = size > 2 && packet[0] == ATTACH ? task_app(packet + 2) : NULL;
	bool over = app == NULL || (app->phase == ENDED && app->coming == COMES_NOT);
	const struct input *input;
	char word;

	if (over) {
		word = app == NULL ? ENOENT : ESRCH;
		send_packet(client, REFUSE, &word, 1);
		let_go(client);
		return;
	}
	client->app = app->app;
	client->streams = (unsigned char)packet[1];
	input = input_of(app->app);
	word = input != NULL && input->tty;
	if (!send_packet(client, ACCEPT, &word, 1))
		let_go(client);
	else if (input != NULL && input->at < input->end)
		watch_set(client->fd, 0);
}

static void client_ready(void *owner, short events)
{
	static unsigned char packet[PACKET + 1];
	struct client *client = owner;
	ssize_t n = recv(client->fd, packet, PACKET, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		let_go(client);
		return;
	}
	packet[n] = '\0';
	if (client->app[0] == '\0')
		greet(client, (const char *)packet, (size_t)n);
	else
		take_packet(client, packet, (size_t)n);
}

static void client_waits(void *owner, short events)
{
	int fd = high_fd(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
	int backlog = BACKLOG;
	struct client *client = clients;

	(void)owner;
	(void)events;
	if (fd < 0)
		return;
	while (client < clients + MAX_CLIENTS && client->app != NULL)
		client++;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &backlog, sizeof backlog);
	if (client == clients + MAX_CLIENTS || watch_add(fd, POLLIN, client_ready, client) != 0) {
		close(fd);
		return;
	}
	*client = (struct client){.fd = fd, .app = ""};
}

int keep_attach(const struct wire_op *op)
{
	int error = socket_in_pod(NULL, op->args[0].p, SOCK_SEQPACKET, 0600, &listener);

	if (error == 0 && listen(listener, 16) < 0)
		error = errno;
	return error != 0 ? error : watch_add(listener, POLLIN, client_waits, NULL);
}
