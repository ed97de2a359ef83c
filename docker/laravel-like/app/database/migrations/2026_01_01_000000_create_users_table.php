<?php
// Stands in for one: a real migration would make a table here.
