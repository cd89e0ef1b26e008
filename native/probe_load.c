#define _GNU_SOURCE
#include "probe.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void use_memory(long mib)
{
	for (long i = 0; i < mib; i++) {
		void *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (block == MAP_FAILED) {
			complain("memory");
			return;
		}
		memset(block, 1, 1 << 20);
	}
	printf("memory %ld\n", mib);
}

/* Forks until told or refused; the children stay until all are counted. */
void fork_many(long count)
{
	int gate[2];
	long made = 0;

	if (pipe(gate) < 0)
		return;
	fflush(stdout);
	while (made < count) {
		char byte;
		pid_t pid = fork();

		if (pid < 0) {
			complain("fork");
			break;
		}
		if (pid == 0) {
			close(gate[1]);
			_exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
		}
		made++;
	}
	printf("forks %ld\n", made);
	close(gate[1]);
	close(gate[0]);
	while (wait(NULL) > 0)
		;
}

/* A process whose parent has ended is PID 1's to reap. */
void leave_orphan(double seconds)
{
	fflush(stdout);
	if (fork() == 0) {
		if (fork() == 0)
			nap(seconds);
		_exit(0);
	}
	wait(NULL);
}

void spin(double seconds)
{
	clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
	volatile unsigned long turns = 0;

	while (clock() < end)
		turns = turns + 1;
}
