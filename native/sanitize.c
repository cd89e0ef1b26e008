/* Options of the sanitizers, built in: appc-init runs without an environment. Leak detection would
 * trace the process, which neither program allows; both leave what they have to their end. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0:abort_on_error=1:handle_segv=0";
}

const char *__ubsan_default_options(void)
{
	return "print_stacktrace=1";
}
