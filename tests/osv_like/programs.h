/* What the stand-in kernel's parts know of each other. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* The machine: one implementation for each architecture. */
void put(char character);
int get(void); /* -1: nothing typed */
void power_off(void);
void reset(void);
void halt(void);
u64 memory_bytes(void);
u32 processors(void);
u32 pci_id(u32 slot); /* vendor and device of function 0 on bus 0; all ones: nothing there */

/* What runs on every one of them. */
void run_all(const char *command_line);
