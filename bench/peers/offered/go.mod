module bench/offered

go 1.22
