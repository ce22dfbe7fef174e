/*
 * A stand-in for an OSv kernel: it takes OSv's command line and says OSv's lines, but its programs are below, and which
 * one runs is told by the beginning of the file's name. No file is read.
 */
#include "programs.h"

static int verbose, power_off_on_abort;

static void print(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

static void print_number(u32 value, u32 base, u32 digits)
{
    char text[24];
    u32 at = sizeof text - 1;
    text[at] = 0;
    do {
        text[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value || sizeof text - 1 - at < digits);
    print(text + at);
}

static int begins(const char *text, const char *with)
{
    while (*with)
        if (*text++ != *with++)
            return 0;
    return 1;
}

static int same(const char *one, const char *other)
{
    return begins(one, other) && begins(other, one);
}

static void abort_like_osv(const char *why)
{
    print(why);
    print("\n[backtrace]\n0x0000000040219ec4 <abort(char const*, ...)+280>\n0x00000000402f5d1c <__assert_fail+28>\n");
    if (power_off_on_abort)
        power_off();
    halt();
}

static int echo(int count, char **words)
{
    for (int at = 1; at < count; at++) {
        print("[");
        print(words[at]);
        print("]\n");
    }
    return 0;
}

static int keys(void)
{
    print("type\n");
    for (;;) {
        int key = get();
        if (key < 0)
            continue;
        print("key ");
        print_number((u32)key, 16, 2);
        print("\n");
        if (key == 'q')
            return 0;
    }
}

static int machine(void)
{
    print("memory ");
    print_number((u32)(memory_bytes() >> 20), 10, 1);
    print(" MiB\nprocessors ");
    print_number(processors(), 10, 1);
    print("\n");
    for (u32 slot = 0; slot < 32; slot++) {
        u32 id = pci_id(slot);
        if (id == 0xffffffff)
            continue;
        print("pci ");
        print_number(id & 0xffff, 16, 4);
        print(":");
        print_number(id >> 16, 16, 4);
        print("\n");
    }
    return 0;
}

static int run(int count, char **words)
{
    const char *name = words[0];
    for (const char *at = words[0]; *at; at++)
        if (*at == '/')
            name = at + 1;
    if (begins(name, "hello"))
        return print("Hello from C code\n"), 0;
    if (begins(name, "pass"))
        return print("all is well\n"), 0;
    if (begins(name, "fail"))
        return print("3 is not 4\n"), 3;
    if (begins(name, "echo"))
        return echo(count, words);
    if (begins(name, "keys"))
        return keys();
    if (begins(name, "machine"))
        return machine();
    if (begins(name, "abort"))
        abort_like_osv("Assertion failed: false (tests/abort.cc: main: 7)");
    if (begins(name, "fault"))
        abort_like_osv("page fault outside application, addr: 0x0000000000000000\n[registers]\nPC: 0x0000100000010f2c\nAborted");
    if (begins(name, "hang"))
        for (;;)
            get();
    if (begins(name, "reset"))
        reset();
    print("Failed to load object: ");
    print(words[0]);
    print(". Powering off.\n");
    power_off();
    return 1;
}

static void run_and_tell(int count, char **words)
{
    int status = run(count, words);
    if (status && verbose) {
        print("program ");
        print(words[0]);
        print(" returned ");
        print_number((u32)status, 10, 1);
        print("\n");
    }
}

/* The next word of *from into *to, which ends up behind its NUL; 0 at the end of the program. */
static char *next_word(const char **from, char **to)
{
    const char *at = *from;
    char *word = *to;
    while (*at == ' ')
        at++;
    *from = at;
    if (*at == 0 || *at == ';')
        return 0;
    if (*at == '"') {
        for (at++; *at && *at != '"'; *(*to)++ = *at++)
            at += *at == '\\';
        at += *at == '"';
    } else {
        while (*at && *at != ' ' && *at != ';')
            *(*to)++ = *at++;
    }
    *(*to)++ = 0;
    *from = at;
    return word;
}

static const char *take_options(const char *line)
{
    static char buffer[4096];
    char *to = buffer;
    while (*line == ' ')
        line++;
    while (begins(line, "--")) {
        const char *option = next_word(&line, &to);
        verbose |= same(option, "--verbose");
        power_off_on_abort |= same(option, "--power-off-on-abort");
        while (*line == ' ')
            line++;
    }
    return line;
}

void run_all(const char *line)
{
    static char buffer[4096];
    char *words[64];
    char *to = buffer;

    print("OSv v0.0 (a stand-in)\n");
    line = take_options(line);
    print("Cmdline: ");
    print(line);
    print("\n");
    while (*line) {
        int count = 0;
        while ((words[count] = next_word(&line, &to)))
            count++;
        line += *line == ';';
        if (count)
            run_and_tell(count, words);
    }
    if (verbose)
        print("VFS: unmounting /\n");
    print("Powering off.\n");
    power_off();
}
