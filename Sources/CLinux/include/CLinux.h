#pragma once
// Linux system calls and constants that Swift's Glibc module does not import.
#include <sys/epoll.h>
#include <sys/eventfd.h>
