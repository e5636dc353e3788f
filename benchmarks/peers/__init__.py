"""What a user would pick instead of Thalweg, each as a program of its own."""
