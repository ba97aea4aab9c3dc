/* A wall clock that can be stepped while a process runs: CLOCK_REALTIME plus the seconds in a mapped file.
   CLOCK_MONOTONIC is let be, as by a real step. Preloaded; children inherit it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile double *step_s;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("FARM_TEST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) step_s = page;
    close(fd);
}

static void stepped(struct timespec *now) {
    double step = step_s ? *step_s : 0.0;
    long whole = (long)step;
    now->tv_sec += whole;
    now->tv_nsec += (long)((step - whole) * 1e9);
    if (now->tv_nsec >= 1000000000) { now->tv_sec++; now->tv_nsec -= 1000000000; }
    if (now->tv_nsec < 0) { now->tv_sec--; now->tv_nsec += 1000000000; }
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) stepped(now);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
