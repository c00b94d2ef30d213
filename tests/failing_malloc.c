/* An allocator to be preloaded (glibc): that of the C library, which fails when it is told to. */

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* How many allocations still succeed, and how many fail after them; none fails before it is told. */
static atomic_long left = -1, failing = 0, asked = 0;

void fail_mallocs(long first, long count) {
    atomic_store(&failing, count);
    atomic_store(&asked, 0);
    atomic_store(&left, first);
}

/* No more failures; how many allocations there were. */
long stop_failing(void) {
    atomic_store(&left, -1);
    return atomic_load(&asked);
}

static int fails(void) {
    if (atomic_load_explicit(&left, memory_order_relaxed) < 0)
        return 0;
    long number = atomic_fetch_add(&asked, 1), first = atomic_load(&left);
    if (first < 0 || number < first || number >= first + atomic_load(&failing))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }

void *realloc(void *block, size_t size) { return fails() ? NULL : __libc_realloc(block, size); }

void *memalign(size_t alignment, size_t size) {
    return fails() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *memory = memalign(alignment, size);
    if (memory == NULL)
        return ENOMEM;
    *block = memory;
    return 0;
}
