#include "mountfs.h"
#include "kernel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The kernel takes no longer key (or value). */
#define KEY_SIZE 256

int mountfs_options(int fs, const struct wire_arg *options)
{
	const char *at = options->p;

	for (uint64_t i = 0; i < options->n; i++) {
		const char *option = wire_item(&at);
		const char *equals = strchr(option, '=');
		char key[KEY_SIZE];
		size_t length = equals == NULL ? strlen(option) : (size_t)(equals - option);
		int rc;

		if (length >= sizeof key)
			return E2BIG;
		memcpy(key, option, length);
		key[length] = '\0';
		if (equals == NULL)
			rc = k_fsconfig(fs, K_FSCONFIG_SET_FLAG, key, NULL, 0);
		else
			rc = k_fsconfig(fs, K_FSCONFIG_SET_STRING, key, equals + 1, 0);
		if (rc < 0)
			return errno;
	}
	return 0;
}

static int create(int fs, const char *source, const struct wire_arg *options, unsigned attributes)
{
	int error;

	if (source[0] != '\0' && k_fsconfig(fs, K_FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return -1;
	error = mountfs_options(fs, options);
	if (error != 0) {
		errno = error;
		return -1;
	}
	if (k_fsconfig(fs, K_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return k_fsmount(fs, attributes);
}

int mountfs_new(const char *fstype, const char *source, const struct wire_arg *options, unsigned attributes)
{
	int fs = k_fsopen(fstype);
	int mount, error;

	if (fs < 0)
		return -1;
	mount = create(fs, source, options, attributes);
	error = errno;
	close(fs);
	errno = error;
	return mount;
}
