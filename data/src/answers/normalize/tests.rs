use super::*;

fn forms(rule: &str, texts: &[&str]) -> Vec<Option<String>> {
    let rule = Normalizer::named(rule).unwrap();
    texts.iter().map(|text| rule.form(text)).collect()
}

/// Checks pairs of text and form; an empty form is `None`.
fn check(rule: &str, cases: &[(&str, &str)]) {
    for (text, form) in cases {
        let found = Normalizer::named(rule).unwrap().form(text);
        assert_eq!(found.as_deref().unwrap_or(""), *form, "{rule} of {text:?}");
    }
}

#[test]
fn numbers_are_read_with_signs_separators_fractions_and_exponents() {
    check(
        "number",
        &[
            ("72", "72"),
            ("#### 72", "72"),
            ("so she has 3 + 4 = 7 apples.", "7"),
            ("$1,234.50", "1234.5"),
            ("-$5", "-5"),
            ("7-2", "2"),
            ("x = -2", "-2"),
            ("18.00", "18"),
            ("1/2", "0.5"),
            ("3.5e4 km", "35000"),
            ("2e", "2"),
            ("50%", "50"),
            (".5", "0.5"),
            ("-0", "0"),
            ("1,2", "2"),
            ("1/0", ""),
            ("none", ""),
            ("", ""),
        ],
    );
}

#[test]
fn numbers_agree_to_six_digits_and_whole_numbers_to_the_last() {
    let same = forms("number", &["0.33333333", "0.333333", "1/3"]);
    assert!(same.iter().all(|form| *form == same[0]), "{same:?}");
    assert_eq!(same[0].as_deref(), Some("0.333333"));
    let near = forms("number", &["0.33333", "0.333333"]);
    assert_ne!(near[0], near[1]);
    let whole = forms("number", &["123456789", "123456788", "123456789.0"]);
    assert_ne!(whole[0], whole[1]);
    assert_eq!(whole[0], whole[2]);
    assert_eq!(forms("number", &["2.9999999999"]), [Some("3".to_owned())]);
}

#[test]
fn options_are_read_where_they_are_meant() {
    check(
        "option",
        &[
            ("B", "B"),
            ("b", "B"),
            ("(C)", "C"),
            ("**D**", "D"),
            ("The answer is (B).", "B"),
            ("Answer: C", "C"),
            ("A is wrong. The answer is B, not option", "B"),
            ("first the answer is A, no, the answer is D.", "D"),
            ("B) because it is", "B"),
            ("B. Paris", "B"),
            ("I choose between (A) and (C)", "C"),
            ("A dog barks", ""),
            ("the answer is a number", ""),
            ("Z", ""),
            ("\\boxed{C}", "C"),
            ("", ""),
        ],
    );
}

#[test]
fn boxes_are_opened_and_latex_is_brought_to_one_form() {
    check(
        "boxed",
        &[
            ("thus \\boxed{5}, or \\boxed{\\frac{1}{2}}", "0.5"),
            ("\\boxed{\\dfrac{a}{b}}", "\\frac{a}{b}"),
            ("\\boxed{\\frac12}", "0.5"),
            ("$\\boxed{x = 10\\text{ cm}}$", "10"),
            ("\\boxed{\\text{Yes}}", "Yes"),
            ("\\boxed{\\left( 1, 2 \\right)}", "(1,2)"),
            ("\\boxed{1,000}", "1000"),
            ("\\boxed{-3/4}", "-0.75"),
            ("\\boxed{90^\\circ}", "90"),
            ("\\boxed{\\sqrt{2}", ""),
            ("2\\sqrt{3}.", "2\\sqrt{3}"),
            ("no box\nin two lines", ""),
            ("\\boxed{1/0}", "1/0"),
        ],
    );
}

#[test]
fn fields_of_json_are_found_in_any_text() {
    check(
        "json",
        &[
            (r#"Sure: ```json {"reasoning": "\"answer\": no", "answer": "$12" } ```"#, "$12"),
            (r#"{"answer": "a \"b\" c"}"#, "a \"b\" c"),
            (r#"{"answer": 42}"#, "42"),
            (r#"{"answer": [1, 2], "x": 3}"#, "[1, 2]"),
            (r#"{"answer": -1.50,"#, "-1.50"),
            (r#"{"answer": "\frac{1}{2} \sqrt2"}"#, "\\frac{1}{2} \\sqrt2"),
            ("{\"answer\": \"two\nlines\"}", "two\nlines"),
            (r#"{"answer": "cut o"#, ""),
            (r#"{"answer": "1"} {"answer": "2"}"#, "2"),
            (r#"{"answer": null}"#, ""),
            (r#"{"answer": }"#, ""),
            ("the answer is 3", ""),
        ],
    );
}

#[test]
fn values_of_json_are_brought_to_one_form() {
    check(
        "json-value",
        &[
            (r#"{"answer": "$1,200"}"#, "1200"),
            (r#"{"answer": 1200.0}"#, "1200"),
            (r#"{"answer": "\\dfrac{1}{2}"}"#, "0.5"),
            (r#"{"answer": "'a b'"}"#, "ab"),
            (r#"{"answer": "['x', 1]"}"#, "[\"x\",1]"),
            (r#"{"answer": ["x", 1]}"#, "[\"x\",1]"),
            (r#"{"answer": ""}"#, ""),
            ("the answer is 3", ""),
        ],
    );
}

#[test]
fn texts_and_code_lose_what_does_not_matter() {
    check("exact", &[(" Paris ", "Paris"), ("  ", "")]);
    check("string", &[(" \"The  Cat\". ", "the cat"), ("3.5", "3.5"), ("'a' ", "a"), ("...", "")]);
    let block = "Here:\n```python\ndef f():  \n\n    # doubles\n    return 2\n```\nDone.";
    check("code", &[(block, "def f():\n    return 2"), ("x = 1\n\n", "x = 1")]);
    check("code", &[("```\na\n```\nor\n```sh\nb\n```", "b"), ("```\nc", "```\nc")]);
}

#[test]
fn forms_are_their_own_forms_and_any_text_is_read() {
    let mut rng = crate::rng::stream(3, "normalize");
    let alphabet = [
        "\\boxed{", "}", "{", "\\frac", "\\text", "1", ",", ".", "/", "-", "$", "e", "A", "(", ")", " ", "ß",
        "```", "\n", "é",
    ];
    for _ in 0..3000 {
        use rand::RngExt as _;
        let text: String =
            (0..rng.random_range(0..12)).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect();
        for row in ALL {
            let form = row.form(&text);
            if ["exact", "number", "option"].contains(&row.name) {
                assert_eq!(form.as_deref().and_then(|form| row.form(form)), form, "{} of {text:?}", row.name);
            }
        }
    }
    let error = Normalizer::named("nubmer").unwrap_err();
    assert!(error.contains("did you mean `number`"), "{error}");
}
