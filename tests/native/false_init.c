/* Stands in for appc-init and tells its keeper lies: what they are is the name of the track. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void tell(uint32_t kind, uint32_t index)
{
	uint32_t packet[4] = {kind, index, 1, 0};

	send(3, packet, sizeof packet, MSG_NOSIGNAL);
}

static void pass_descriptors(uint32_t kind, size_t count)
{
	uint32_t packet[4] = {kind, 0, 0, 0};
	struct iovec part = {packet, sizeof packet};
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control;
	int fds[3] = {0, 1, 2};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof fds[0]);
	message.msg_controllen = CMSG_SPACE(count * sizeof fds[0]);
	memcpy(CMSG_DATA(header), fds, count * sizeof fds[0]);
	sendmsg(3, &message, MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
	const char *lie = argc > 1 ? argv[1] : "";
	char large[4096] = {0};

	if (strcmp(lie, "short") == 0)
		send(3, "x", 1, MSG_NOSIGNAL);
	if (strcmp(lie, "large") == 0)
		send(3, large, sizeof large, MSG_NOSIGNAL);
	if (strcmp(lie, "unknown") == 0)
		tell(99, 0);
	if (strcmp(lie, "beyond") == 0)
		tell(1, 1000);
	if (strcmp(lie, "early-start") == 0)
		tell(2, 0);
	if (strcmp(lie, "not-pid-1") == 0)
		tell(3, 0);
	if (strcmp(lie, "descriptors") == 0)
		pass_descriptors(4, 3);
	if (strcmp(lie, "pair") == 0)
		pass_descriptors(4, 2);
	if (strcmp(lie, "flood") == 0)
		for (int i = 0; i < 100000; i++)
			tell(5, 0);
	if (strcmp(lie, "close") == 0)
		close(3);
	if (strcmp(lie, "die") == 0)
		abort();
	pause();
	return 0;
}
