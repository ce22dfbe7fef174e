/*
 * Maps every file below /data, reads all of them over and over through the mappings, writes to a
 * private page, and prints checksums. No C library: a few system calls and nothing else.
 *
 * Built by build.sh; the ELF beside this file is what it makes with Debian 12's gcc-aarch64-linux-gnu.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned long u64;
typedef long s64;

enum { GETDENTS64 = 61, OPENAT = 56, CLOSE = 57, PREAD64 = 67, WRITE = 64, EXIT_GROUP = 94, MMAP = 222,
       LSEEK = 62 };
enum { AT_FDCWD = -100, O_DIRECTORY = 040000, PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, SEEK_END = 2 };
enum { DT_DIR = 4, DT_REG = 8 };
enum { MOST_FILES = 1024, ROUNDS = 3000, PAGE = 4096 };

static s64 call(s64 number, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
    register s64 x8 __asm__("x8") = number;
    register s64 x0 __asm__("x0") = a;
    register s64 x1 __asm__("x1") = b;
    register s64 x2 __asm__("x2") = c;
    register s64 x3 __asm__("x3") = d;
    register s64 x4 __asm__("x4") = e;
    register s64 x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

struct entry {
    u64 number;
    s64 offset;
    u16 length;
    u8 type;
    char name[];
};

struct file {
    const u8 *bytes;
    u64 size;
};

static struct file files[MOST_FILES];
static u64 count, total;

static void print(const char *text)
{
    u64 length = 0;
    while (text[length])
        length++;
    call(WRITE, 1, (s64)text, length, 0, 0, 0);
}

static void print_number(u64 value, unsigned base)
{
    char digits[24], *at = digits + sizeof digits - 1;
    *at = 0;
    do
        *--at = "0123456789abcdef"[value % base];
    while (value /= base);
    print(at);
}

static void fail(const char *what, s64 error)
{
    print(what);
    print(": error ");
    print_number(-error, 10);
    print("\n");
    call(EXIT_GROUP, 1, 0, 0, 0, 0, 0);
}

static void map_file(int directory, const char *name)
{
    s64 fd = call(OPENAT, directory, (s64)name, 0, 0, 0, 0);
    if (fd < 0)
        fail(name, fd);
    u64 size = call(LSEEK, fd, 0, SEEK_END, 0, 0, 0);
    if (size && count < MOST_FILES) {
        s64 at = call(MMAP, 0, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (at < 0 && at > -PAGE)
            fail(name, at);
        files[count].bytes = (const u8 *)at;
        files[count++].size = size;
        total += size;
    }
    call(CLOSE, fd, 0, 0, 0, 0, 0);
}

static void map_directory(int above, const char *name)
{
    u64 buffer[512];
    s64 fd = call(OPENAT, above, (s64)name, O_DIRECTORY, 0, 0, 0), length;
    if (fd < 0)
        fail(name, fd);
    while ((length = call(GETDENTS64, fd, (s64)buffer, sizeof buffer, 0, 0, 0)) > 0)
        for (s64 at = 0; at < length;) {
            struct entry *e = (struct entry *)((u8 *)buffer + at);
            at += e->length;
            if (e->type == DT_REG)
                map_file(fd, e->name);
            else if (e->type == DT_DIR && e->name[0] != '.')
                map_directory(fd, e->name);
        }
    call(CLOSE, fd, 0, 0, 0, 0, 0);
}

/* FNV-1a over words: it must touch everything and depend on the order within a file, no more. */
static u64 checksum(const u8 *bytes, u64 size)
{
    u64 sum = 0xcbf29ce484222325;
    u64 words = size / 8;
    for (u64 i = 0; i < words; i++)
        sum = (sum ^ ((const u64 *)bytes)[i]) * 0x100000001b3;
    for (u64 i = words * 8; i < size; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3;
    return sum;
}

/* The order of a directory is not ours to know, so files are added. */
static u64 checksum_all(void)
{
    u64 sum = 0;
    __asm__ volatile("" ::: "memory"); /* read it all again, whatever the compiler knows */
    for (u64 i = 0; i < count; i++)
        sum += checksum(files[i].bytes, files[i].size);
    return sum;
}

/* Writes one byte of every page of a private mapping of this program's own file. */
static u64 write_private_pages(void)
{
    s64 fd = call(OPENAT, AT_FDCWD, (s64) "/demo", 0, 0, 0, 0);
    if (fd < 0)
        fail("/demo", fd);
    u64 size = call(LSEEK, fd, 0, SEEK_END, 0, 0, 0);
    u8 *bytes = (u8 *)call(MMAP, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    u64 pages = 0;
    for (u64 at = 0; at < size; at += PAGE, pages++)
        bytes[at] ^= 0xff;
    u8 first = 0;
    call(PREAD64, fd, (s64)&first, 1, 0, 0, 0);
    if (first != 0x7f || bytes[0] != (0x7f ^ 0xff))
        fail("a private write reached the file", -1);
    return pages;
}

__attribute__((used)) static void run(void)
{
    map_directory(AT_FDCWD, "/data");
    u64 first = checksum_all(), last = first;
    for (int round = 1; round < ROUNDS && last == first; round++)
        last = checksum_all();
    print("files     ");
    print_number(count, 10);
    print("\nbytes     ");
    print_number(total, 10);
    print("\nrounds    ");
    print_number(ROUNDS, 10);
    print("\nchecksum  ");
    print_number(first, 16);
    print(last == first ? "\nall rounds agree\n" : "\nROUNDS DIFFER\n");
    print("private pages written  ");
    print_number(write_private_pages(), 10);
    print("\n");
    call(EXIT_GROUP, last != first, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n mov x29, xzr\n mov x30, xzr\n bl run\n");
