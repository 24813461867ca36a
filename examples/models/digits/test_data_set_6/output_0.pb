
BdigitJ(º:Õ7²m	9°y7¸AF6}_ß9ô8MÏ?GºA4jMý70R6