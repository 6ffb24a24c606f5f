//! Records as TensorBoard reads them: length, checksum, message, checksum.

use super::*;

/// All events of a file; panics where a length or a checksum is wrong.
fn events(path: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).expect("the file");
    let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_at(8);
        let (check, after) = after.split_at(4);
        assert_eq!(check, masked_crc(length).to_le_bytes());
        let (event, after) = after.split_at(u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize);
        let (check, after) = after.split_at(4);
        assert_eq!(check, masked_crc(event).to_le_bytes());
        events.push(Event::decode(event).expect("an event"));
        rest = after;
    }
    events
}

#[test]
fn the_checksum_is_the_one_of_the_format() {
    // CRC-32C of "123456789" is 0xe3069283; masked as record_writer.cc does.
    assert_eq!(masked_crc(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
}

#[test]
fn a_file_holds_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut board = TensorBoard::create(folder.path(), folder.path(), 4).expect("a file");
    let metrics = StepMetrics {
        step: 5,
        loss: 0.25,
        lr: 1e-3,
        grad_norm: 2.0,
        loss_z: None,
        grad_norm_z: None,
        samples_per_second: 8.0,
        mfu: None,
        peak_flops: None,
        kernel: None,
        peak_memory_bytes: 1,
        anon_memory_bytes: 1,
        data_seconds: 0.0,
        forward_seconds: 0.0,
        backward_seconds: 0.0,
        update_seconds: 0.0,
        save_seconds: 0.0,
        processes: None,
    };
    board.step(&metrics).expect("scalars");
    let picture = RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]));
    board.image(5, "picture", &picture).expect("a picture");
    board.text(5, "config", "all *settings*").expect("a text");

    let events = events(&board.path);
    assert!(matches!(&events[0].what, Some(What::FileVersion(version)) if version == "brain.Event:2"));
    assert!(matches!(&events[1].what, Some(What::SessionLog(log)) if log.status == SessionLog::START));
    assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 5, 5, 5, 5]);
    let values = |event: &Event| match &event.what {
        Some(What::Summary(summary)) => summary.value.iter().map(|value| value.tag.clone()).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    assert_eq!(values(&events[2]), ["loss", "lr", "grad_norm", "samples_per_second"]);
    let value = |event: &Event| match &event.what {
        Some(What::Summary(summary)) => summary.value[0].value.clone(),
        _ => None,
    };
    assert_eq!(value(&events[2]), Some(SummaryValue::SimpleValue(0.25)));
    let Some(SummaryValue::Image(image)) = value(&events[3]) else { panic!("a picture") };
    let decoded = cogview4_control_pipeline::decode_image(image.encoded_image_string).expect("a PNG");
    assert_eq!(((image.width, image.height), decoded), ((3, 2), picture));
    let Some(SummaryValue::Tensor(text)) = value(&events[4]) else { panic!("a text") };
    assert_eq!(text.string_val, [b"all *settings*".map(char::from).iter().collect::<String>()]);
}
